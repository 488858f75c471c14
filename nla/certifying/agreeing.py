"""Whether the operators that proofs lean on compute what the model computes, also of several samples fed together.

A proof is of one sample, and is said to hold for each sample of a batch. So some samples are fed at once, and z of
each is held against what the lowered operators make of that sample alone, and tensors that proofs begin at against
the sets that they are said to lie in. A graph that sums over the batch, or that reads its size, does not agree; nor
would an operator whose rule here were wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.certificates.network import Network, Target
from nla.certificates.rounding import SINGLE, Floats
from nla.certifying.opened import Opened
from nla.errors import NlaError
from nla.graph.prepare import prepare
from nla.graph.rewrite import extract
from nla.replay.opening import Model

Array = NDArray[Any]
_SAMPLES = 3
_FAR, _FAR_COARSE = 0.02, 0.25
"""How far z may be off, relative to the largest, in float32 and in coarser arithmetic: samples that meet differ so."""


def agreeing(opened: Opened, wanted: Sequence[str], *, verbose: bool = False) -> Opened:
    """Without the sites, of those wanted, whose z is another than the proofs take it for; with the reason."""
    targets = [each for each in opened.network.targets if each.site in wanted]
    free = any(each.shape and not isinstance(each.shape[0], int) for each in opened.declared)
    lost = _lost(opened, targets, _SAMPLES, verbose) if free and targets else None
    why = "samples that are fed together meet before it: a proof is of one sample"
    if targets and (lost is None or lost):
        alone = _lost(opened, targets, 1, verbose) or frozenset()
        reasons = dict.fromkeys(lost or (), why) | dict.fromkeys(
            alone, "onnxruntime computes another z than its operators were taken for"
        )
        left = tuple(each for each in opened.network.targets if each.site not in reasons)
        network = replace(opened.network, targets=left, reasons={**opened.network.reasons, **reasons})
        return replace(opened, network=network)
    return opened


def _lost(opened: Opened, targets: Sequence[Target], samples: int, verbose: bool) -> frozenset[str] | None:
    """Sites where z of these samples is another; None where the model does not run on them."""
    read = {each.site: _read(opened.network, each.pre) for each in targets}
    names = list(dict.fromkeys(name for each in targets for name in (each.pre, *read[each.site])))
    try:
        feeds, values = _run(opened, [name for name in names if name not in opened.shapes], samples, verbose)
    except NlaError:
        return None
    known = {**values, **feeds}
    made = _made(opened.network, targets, read, known, samples)
    outside = {name for name in names if _leaves(opened.network, name, known, samples)}
    return frozenset(
        each.site
        for each in targets
        if not outside.isdisjoint(read[each.site]) or _differs(opened.network, each, made, known, samples)
    )


def _leaves(network: Network, name: str, known: Mapping[str, Array], samples: int) -> bool:
    """Whether a tensor that is said to lie in a set whatever is fed is seen outside it."""
    part = _split(known[name], network.shapes[name], samples) if name in network.given else None
    if part is None:
        return False
    x, box = np.asarray(part, np.float64), network.given[name].box
    beyond = np.fmax(box.lo - x, x - box.hi)
    return bool((beyond > _far(network) * np.maximum(np.abs(x), 1e-6)).any())


def _far(network: Network) -> float:
    return _FAR if network.unit <= SINGLE else _FAR_COARSE


def _read(network: Network, tensor: str) -> list[str]:
    """Tensors of the model from which the lowered operators compute this one."""
    before = network.before([tensor])
    made, hidden, found = {op.output for op in before}, set(), []
    for op in before:
        found += [name for name in op.inputs if name not in made and "\0" not in name]
        if any(name in hidden or (name not in made and "\0" in name) for name in op.inputs):
            if "\0" in op.output:
                hidden.add(op.output)
            else:  # made of what is no tensor of the model: read where it comes out
                found.append(op.output)
    return list(dict.fromkeys(found))


def _run(
    opened: Opened, names: Sequence[str], samples: int, verbose: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(random inputs, the values of these tensors), of so many samples. Raises ModelError, DataError."""
    fixed = {each.name for each in opened.declared if each.shape and isinstance(each.shape[0], int)}
    sizes = {
        name: [None if k == 0 and samples > 1 and name not in fixed else size for k, size in enumerate(shape)]
        for name, shape in opened.shapes.items()
    }
    prepared = opened.prepared if samples == 1 else prepare(opened.checkpoint, opened.constants, sizes)
    external, size = opened.checkpoint.map_external(), opened.checkpoint.size_bytes
    model = Model(prepared.model, prepared.inputs, prepared.constant_feeds, external, size, verbose=verbose)
    session = model.session(extract(model.graph, list(names), model.lifted).SerializeToString())
    rng = np.random.default_rng(0)
    feeds = {}
    for each in prepared.inputs:
        shape = tuple(samples if size is None else size for size in sizes[each.name])
        kind = np.dtype(each.dtype) if each.dtype != "bfloat16" else np.dtype(np.float32)
        drawn = rng.normal(size=shape) if kind.kind == "f" else rng.integers(0, 2, shape)
        feeds[each.name] = drawn.astype(kind)
    fixed_feeds = {name: feed.of(samples) for name, feed in prepared.constant_feeds.items()}
    fed = {name: value for name, value in {**feeds, **fixed_feeds}.items() if name in session.inputs}
    return feeds, dict(zip(names, session.run(list(names), fed), strict=True))


def _made(
    network: Network,
    targets: Sequence[Target],
    read: Mapping[str, Sequence[str]],
    known: Mapping[str, Array],
    samples: int,
) -> dict[str, Floats | None]:
    """By z, what the lowered operators make of what is read, in one pass; None where a tensor that is read is of
    another shape. What no later operator reads is let go."""
    ends = {each.pre for each in targets}
    alone = {each.pre for each in targets if each.pre not in read[each.site]}
    held: dict[str, Floats] = {}
    for name in {name for names in read.values() for name in names} - alone:
        part = _split(known[name], network.shapes[name], samples)
        if part is not None:
            held[name] = np.asarray(part, np.float64)
    ops = network.before(list(ends))
    last = {name: k for k, op in enumerate(ops) for name in op.inputs}
    with np.errstate(all="ignore"):
        for k, op in enumerate(ops):
            if op.output not in held and all(name in held for name in op.inputs):
                held[op.output] = op.forward(*(held[name] for name in op.inputs))
            for name in op.inputs:
                if last[name] == k and name not in ends:
                    held.pop(name, None)
    return {name: held.get(name) for name in ends}


def _differs(
    network: Network,
    target: Target,
    made: Mapping[str, Floats | None],
    known: Mapping[str, Array],
    samples: int,
) -> bool:
    part, found = _split(known[target.pre], network.shapes[target.pre], samples), made[target.pre]
    if part is None or found is None:
        return True
    z = np.asarray(part, np.float64)
    seen = np.isfinite(found) & np.isfinite(z)
    return bool((np.abs(found - z)[seen] > _far(network) * np.abs(found[seen]).max(initial=1e-6)).any())


def _split(value: Array, shape: tuple[int, ...], samples: int) -> Floats | None:
    """[samples, *shape] of a tensor, along whichever axis is that much longer; None where none is."""
    for alone in ((1, *shape), shape):
        if value.shape == alone:
            return np.broadcast_to(value.reshape(shape), (samples, *shape))
        for axis, size in enumerate(alone):
            if value.shape == (*alone[:axis], size * samples, *alone[axis + 1 :]):
                return np.stack([part.reshape(shape) for part in np.split(value, samples, axis)])
    return None
