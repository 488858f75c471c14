"""Whether what is proved of inputs of length one holds at every length: where positions are treated alike and apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nla.certificates.network import Network, Target
from nla.certificates.rounding import Floats
from nla.site import Input

_LONGEST = 6
"""Lengths that are held against a length of one."""
_SAME = 1e-9


def of_length(inputs: Sequence[Input], length: int) -> dict[str, list[int]]:
    """The shape of each input with a batch of one and this length along every other free axis."""
    return {
        value.name: [
            size if isinstance(size, int) else (1 if k == 0 else length)
            for k, size in enumerate(value.shape or ())
        ]
        for value in inputs
    }


def same_at_every_position(short: Network, long: Network, target: Target, seed: int = 0) -> bool:
    """Whether z at each position of a longer input is what it is at the only position of an input of length one.

    Then a bound of length one holds at every length: only operators that treat positions alike and apart lie between
    z and the tensors that it is computed from. It is tried on random values, at which functions that differ agree with
    probability zero; the tensors that z is computed from must be alike at all positions too.

    Args:
        short: lowered with `of_length(inputs, 1)`.
        long: lowered with a length above one (3, say).
        target: of `short`.
        seed: of the random values.
    """
    other = next((each for each in long.targets if each.site == target.site), None)
    leaves = _leaves(short, target)
    if other is None or other.pre != target.pre or not leaves or leaves != _leaves(long, other):
        return False
    axes = {name: _axis(short, long, name) for name in leaves}
    lengths = {None if axis is None else long.shapes[name][axis] for name, axis in axes.items()}
    length = lengths.pop()
    if lengths or length is None:
        return False
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=(1, *long.shapes[name])) for name in leaves}
    whole = _by_neuron(_forward(long, values, other), other)
    for at in range(length):
        part = {name: np.take(value, [at], axis=1 + (axes[name] or 0)) for name, value in values.items()}
        alone = _by_neuron(_forward(short, part, target), target)
        if whole.shape != (alone.shape[0], alone.shape[1] * length):
            return False
        step = whole.reshape(len(whole), length, -1)[:, at]
        if np.abs(step - alone).max(initial=0) > _SAME * (1 + np.abs(alone).max(initial=0)):
            return False
    return True


def _axis(short: Network, long: Network, name: str) -> int | None:
    """The one axis along which a tensor is longer, all positions alike; None where there is none."""
    one, many = short.shapes[name], long.shapes[name]
    differ = [k for k, (a, b) in enumerate(zip(one, many, strict=False)) if a != b]
    if len(one) != len(many) or len(differ) != 1 or one[differ[0]] != 1:
        return None
    return differ[0] if 1 < many[differ[0]] <= _LONGEST and _alike(short, long, name) else None


def _leaves(network: Network, target: Target) -> list[str]:
    """The inputs and the given tensors that z is computed from."""
    wanted, found = {target.pre}, set()
    for op in reversed(network.ops):
        if op.output in wanted and op.output not in network.given:
            wanted.update(op.inputs)
    for name in wanted:
        if name in network.given or name in network.inputs:
            found.add(name)
    return sorted(found)


def _alike(short: Network, long: Network, name: str) -> bool:
    """Whether a given tensor's box is the same at every position as at length one; inputs always are."""
    if name not in short.given:
        return name not in long.given
    if name not in long.given:
        return False
    one, many = short.given[name].box, long.given[name].box
    return bool(
        (np.broadcast_to(one.lo, many.shape) == many.lo).all()
        and (np.broadcast_to(one.hi, many.shape) == many.hi).all()
        and type(short.given[name]) is type(long.given[name])
    )


def _forward(network: Network, values: Mapping[str, Floats], target: Target) -> Floats:
    known = dict(values)
    for op in network.before([target.pre]):
        if op.output not in known and all(name in known for name in op.inputs):
            known[op.output] = op.forward(*(known[name] for name in op.inputs))
    return known[target.pre]


def _by_neuron(z: Floats, target: Target) -> Floats:
    """[neurons, positions]"""
    moved = np.moveaxis(z[0], target.axis, 0)
    return np.asarray(moved.reshape(len(moved), -1))
