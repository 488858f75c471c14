"""A checkpoint as proofs need it: one sample of known sizes, its sites, and the network that they lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nla.calibration import Calibration, open_calibration
from nla.certificates.domains import OBSERVED
from nla.certificates.layers import layer
from nla.certificates.network import Network
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.errors import ModelError, UsageError, one_line, printable
from nla.graph.assemble import assemble
from nla.graph.find import walked
from nla.graph.given import Given
from nla.graph.prepare import Prepared, prepare
from nla.lowering.lengths import of_length, same_at_every_position
from nla.lowering.lower import lower
from nla.lowering.settling import settle
from nla.replay.tasks import Arguments, Arrays, Report, checkpoint_given, data_given, options_given
from nla.site import Input, Site

Shapes = Mapping[str, Sequence[int]]
ANY = "any"
"""The domain of all inputs, of every size."""
_LONGER = 3


@dataclass(frozen=True)
class Opened:
    """What a certificate is asked of."""

    checkpoint: OnnxCheckpoint
    prepared: Prepared
    shapes: dict[str, list[int]]
    """By input that takes data, its sizes for a batch of one."""
    free: tuple[str, ...]
    """Inputs with a size, beside the batch, that the model leaves free."""
    sites: tuple[Site, ...]
    network: Network
    data: Calibration | None
    every_size: frozenset[str] = frozenset()
    """Sites of which what is proved without a domain holds at every size of the inputs: positions lie alike and apart
    before them."""
    declared: tuple[Input, ...] = ()
    """The inputs that take data, as the model declares them."""
    constants: Mapping[str, Given] = field(default_factory=dict)
    """Values of the inputs that do not."""


def opened(arguments: Arguments, arrays: Arrays, report: Report) -> Opened:
    """The checkpoint and the data that were given, lowered for a batch of one.

    Raises:
        ModelError, DataError, UsageError: they cannot be used, or a size is not known.
    """
    checkpoint, constants = checkpoint_given(arguments, arrays, report)
    _same_checkpoint(str(checkpoint.describe()["digest"]), arguments["of"])
    first = prepare(checkpoint, constants)
    data = _data(arguments, arrays, checkpoint, first, report)
    free = tuple(each.name for each in first.inputs if _free(each))
    of_data = {} if data is None else _shapes_of(data)
    sized = {*arguments["sizes"], *of_data}
    anywhere = arguments["domain"] in (None, ANY) and not arguments["box"] and arguments["ranges"] is None
    alike = anywhere and not sized.issuperset(free) and all(each.shape is not None for each in first.inputs)
    shapes = of_length(first.inputs, 1) if alike else _shapes(first.inputs, arguments["sizes"], of_data)
    report({"phase": "looking for sites"})
    local = arguments["domain"] == OBSERVED
    prepared, sites, network = _lowered(checkpoint, constants, first, shapes, report, beyond=local)
    every = _every_size(checkpoint, constants, first, network, report) if free and anywhere else frozenset()
    if alike:
        network = _without_sized(network, every, next(each for each in first.inputs if _free(each)))
    if local:
        network = _with_layers(network, prepared)
    return Opened(
        checkpoint, prepared, shapes, free, sites, network, data, every, first.inputs, dict(constants or {})
    )


def _lowered(
    checkpoint: OnnxCheckpoint,
    constants: Mapping[str, Given],
    first: Prepared,
    shapes: Shapes,
    report: Report,
    *,
    beyond: bool = False,
) -> tuple[Prepared, tuple[Site, ...], Network]:
    fed = {name: feed.of(1).shape for name, feed in first.constant_feeds.items()}
    prepared = prepare(checkpoint, constants, {**shapes, **fed})
    settle(prepared.model)
    walk = walked(prepared.model)
    sites = assemble(walk, frozenset(), norms=False)
    if not sites:
        raise ModelError(
            "no layer of neurons with an activation was found; `nla sites` lists what was not understood"
        )
    report({"phase": "lowering the graph"})
    return (
        prepared,
        sites,
        lower(prepared.model.graph, walk, sites, beyond=beyond, alone=_alone(first.inputs)),
    )


def _every_size(
    checkpoint: OnnxCheckpoint,
    constants: Mapping[str, Given],
    first: Prepared,
    network: Network,
    report: Report,
) -> frozenset[str]:
    """The sites whose z at each position of a longer input is what it is at the only one of an input of length one."""
    try:
        short, long = (
            _lowered(checkpoint, constants, first, of_length(first.inputs, length), report)[2]
            for length in (1, _LONGER)
        )
    except ModelError:
        return frozenset()  # a graph that has no sites at these sizes
    kept = {each.site for each in network.targets}
    return frozenset(
        each.site for each in short.targets if each.site in kept and same_at_every_position(short, long, each)
    )


def _without_sized(network: Network, every: frozenset[str], declared: Input) -> Network:
    """The network without sites whose z depends on a size that nobody gave. Raises UsageError where none is left."""
    left = tuple(each for each in network.targets if each.site in every)
    if network.targets and not left:
        raise UsageError(_which_size(declared))
    why = f"it depends on the size of {printable(declared.name)}: give --size, or --data of one size"
    reasons = {each.site: why for each in network.targets if each.site not in every}
    return replace(network, targets=left, reasons={**network.reasons, **reasons})


def _with_layers(network: Network, prepared: Prepared) -> Network:
    """The network without sites whose layer is not known: no sound rule lies before z, or integers are multiplied."""
    makers = {output.name: node for node in prepared.model.graph for output in node.outputs}
    lost = {}
    for target in network.targets:
        found = layer(network, target)
        read = [makers[name] for name in (found.inputs if found else ()) if name in makers]
        rounding = next((node for node in read if "quantize" in node.op_type.lower()), None)
        if found is None:
            lost[target.site] = "no operator with a sound rule lies before its z"
        elif rounding is not None:
            lost[target.site] = (
                f"its layer reads what {rounding.op_type} makes: quantised arithmetic has no sound rule"
            )
    left = tuple(each for each in network.targets if each.site not in lost)
    return replace(network, targets=left, reasons={**network.reasons, **lost})


def _same_checkpoint(digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise UsageError(
            f"the recording is of another checkpoint: its digest is {one_line(expected, 16)}, this one's is "
            f"{digest[:16]}; inspect this one, or leave the recording out"
        )


def _data(
    arguments: Arguments, arrays: Arrays, checkpoint: OnnxCheckpoint, prepared: Prepared, report: Report
) -> Calibration | None:
    given = data_given(arguments, arrays)
    if given is None:
        return None
    report({"phase": "reading the data"})
    return open_calibration(given, prepared.inputs, options_given(arguments, arrays, checkpoint))


def _shapes_of(data: Calibration) -> dict[str, tuple[int | None, ...]]:
    """By input, the sizes that every sample has; of an input derived from another (a mask), those of the first."""
    first = data.feeds(np.zeros(1, np.int64))
    derived = {name: value.shape for name, value in first.items() if name not in data.shapes}
    return {**data.shapes, **derived}


def _alone(inputs: Sequence[Input]) -> bool:
    """Whether the model takes one sample a run."""
    return all(each.shape is not None and each.shape[:1] in ((), (1,)) for each in inputs)


def _free(declared: Input) -> bool:
    return declared.shape is None or any(not isinstance(size, int) for size in declared.shape[1:])


def _shapes(
    inputs: Sequence[Input], given: Shapes, of_data: Mapping[str, Sequence[int | None]]
) -> dict[str, list[int]]:
    """The sizes of every input: those given, else those of the data, else those that the model declares."""
    names = {each.name for each in inputs}
    for name in given:
        if name not in names:
            raise UsageError(
                f"--size {printable(name)}: the model has no such input; its inputs are "
                f"{', '.join(map(printable, sorted(names))) or 'none'}"
            )
    return {each.name: _sizes(each, given.get(each.name), of_data.get(each.name)) for each in inputs}


def _sizes(declared: Input, given: Sequence[int] | None, of_data: Sequence[int | None] | None) -> list[int]:
    rank = None if declared.shape is None else len(declared.shape)
    if given is not None and rank is not None and len(given) != rank:
        raise UsageError(
            f"--size {printable(declared.name)}: {len(given)} sizes, the input has {rank}: {_shown(declared)}"
        )
    said = list(given or of_data or declared.shape or ())
    if rank is None and not said:
        raise UsageError(_which_size(declared))
    sizes: list[int] = []
    for k in range(len(said)):
        fixed = declared.shape[k] if declared.shape is not None else None
        size = fixed if isinstance(fixed, int) else said[k]
        if isinstance(fixed, int) and given is not None and given[k] != fixed:
            raise UsageError(
                f"--size {printable(declared.name)}: axis {k} is {given[k]}, the model has {fixed} there"
            )
        if k == 0 and not isinstance(size, int):
            size = 1
        if not isinstance(size, int):
            raise UsageError(_which_size(declared))
        sizes.append(1 if k == 0 and not isinstance(fixed, int) else size)
    return sizes


def _which_size(declared: Input) -> str:
    dims = declared.shape or (None, 3, 224, 224)
    example = "x".join(
        str(size if isinstance(size, int) else 1 if k == 0 else 16) for k, size in enumerate(dims)
    )
    return (
        f"input {printable(declared.name)} {_shown(declared)} has a free size, and a proof is of one size: give "
        f"--size {printable(declared.name)}={example}, or --data of one size"
    )


def _shown(declared: Input) -> str:
    if declared.shape is None:
        return "of unknown rank"
    return f"[{', '.join('?' if size is None else printable(size) for size in declared.shape)}]"
