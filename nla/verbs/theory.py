"""The verbs of theory: trainability, initialisation, simulate, phases, variance, activation_table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from nla.errors import UsageError
from nla.isolation import Limits
from nla.theory.activation_table import ActivationTable, named, table_of
from nla.theory.initialisation_table import gains, schemes_for
from nla.theory.layers import Layer, alike, checked, checked_probability, stacked
from nla.theory.simulation.results import Simulation
from nla.theory.simulation.running import simulate as run
from nla.theory.simulation.settings import PHASES, Settings
from nla.theory.simulation.sizes import VarianceTable, sizes
from nla.theory.trainability import Placed, Trainability, Uncovered, trainability_of
from nla.theory.trainability import trainability as of_layers
from nla.verbs.construction import Construction
from nla.verbs.parcel import Constant, Parcel, Progress, StrPath
from nla.verbs.recordings import as_criteria
from nla.verbs.simulation_work import Work
from nla.verbs.weighing import weighed
from nla.weights.initialisation import Initialisation, initialisation_of

_PHASE = "simulating"


def trainability(
    model: StrPath | None = None,
    *,
    width: int | None = None,
    depth: int | None = None,
    widths: Sequence[int] | None = None,
    inputs: int | None = None,
    non_negative: bool = False,
    no_bias: bool = False,
    orthogonal: bool = False,
    probability: float | None = None,
    constants: Mapping[str, Constant] | None = None,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Trainability:
    """Between what the probability lies that a ReLU network is born alive: of widths, or of a checkpoint's layers.

    Args:
        model: a checkpoint, whose ReLU layers, kernels, groups, biases and skip connections are read; no weight is.
        width: neurons of each of `depth` layers, in place of a model.
        depth: so many layers.
        widths: neurons layer by layer, in place of width and depth.
        inputs: features of the data; as many as the first layer is wide, by default.
        non_negative: no value of the data is negative (as pixels, or outputs of a ReLU): the first layer counts too.
        no_bias: biases begin at zero, or there are none.
        orthogonal: weights are drawn as orthogonal matrices, for which no upper bound holds.
        probability: of being born alive that is wanted, in (0, 1): the width that it needs is given.
        constants: values of inputs of the model that are not data.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str}.

    Raises:
        UsageError: sizes or a probability that make no sense, or not one of a model, widths, and width with depth.
        ModelError, LimitError: the checkpoint cannot be read.
    """
    if probability is not None:
        checked_probability(probability)
    if model is None:
        sized = _sized(width, depth, widths, inputs, not no_bias)
        return of_layers(sized, non_negative=non_negative, orthogonal=orthogonal, probability=probability)
    if any(given is not None for given in (width, depth, widths, inputs)):
        raise UsageError(
            "a model says how wide and deep it is: give a model, or --widths, or --width and --depth"
        )
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        non_negative=non_negative,
        no_bias=no_bias,
        construction=Construction.of(graph, layers, activation).given(),
    )
    parcel.put_constants(constants)
    plain, _ = parcel.run(
        "nla.weights.rectifiers:read", Limits(memory_limit, time_limit), progress, in_process
    )
    return trainability_of(
        [
            Placed(**{**placed, "layer": Layer(**placed["layer"])})  # as the child took it apart
            for placed in plain["layers"]
        ],
        non_negative=non_negative,
        orthogonal=orthogonal,
        probability=probability,
        uncovered=[Uncovered(**each) for each in plain["uncovered"]],
        checkpoint=plain["checkpoint"],
        notes=plain["notes"],
    )


def _sized(
    width: int | None, depth: int | None, widths: Sequence[int] | None, inputs: int | None, bias: bool
) -> tuple[Layer, ...]:
    """The layers that sizes stand for. Raises UsageError."""
    if widths is not None:
        if width is not None or depth is not None:
            raise UsageError("--widths names every layer: leave --width and --depth out")
        return stacked(widths, inputs=inputs, bias=bias)
    if width is None or depth is None:
        raise UsageError("give a model, or --widths 16,8,4, or --width 16 and --depth 64")
    return alike(width, depth, inputs=inputs, bias=bias)


def initialisation(
    model: StrPath | None = None,
    *,
    fan_in: int | None = None,
    fan_out: int | None = None,
    constants: Mapping[str, Constant] | None = None,
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
) -> Initialisation:
    """The schemes of the lifecycle paper's Table 2 for one layer, or which of them a checkpoint's layers look like.

    Args:
        model: a checkpoint, whose weights are read; without one, the schemes and the gains of activations.
        fan_in: inputs of the layer, 256 by default; without a model.
        fan_out: its outputs, likewise.
        constants: values of inputs of the model that are not data.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError: sizes that make no sense, or a model and sizes.
        ModelError, LimitError: the checkpoint cannot be read.
    """
    if model is None:
        if any(given is not None for given in (graph, layers, activation)):
            raise UsageError("--graph, --layers and --activation say how a model is read: name the model")
        fans = (256 if fan_in is None else fan_in, 256 if fan_out is None else fan_out)
        return Initialisation(fans=fans, schemes=schemes_for(*fans), gains=gains())
    if fan_in is not None or fan_out is not None:
        raise UsageError("a model says how large its layers are: give a model, or --fan-in and --fan-out")
    found = weighed(
        model,
        constants=constants,
        include=("linear",),
        construction=Construction.of(graph, layers, activation),
        criteria=as_criteria(None),
        limits=Limits(memory_limit, time_limit),
        in_process=in_process,
        progress=progress,
        verbose=False,
    )
    return initialisation_of(found)


def simulate(
    figure: int,
    *,
    networks: int | None = None,
    points: int | None = None,
    max_width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    bias: bool = False,
    non_negative: bool = False,
    threads: int | None = None,
    work: StrPath | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Count random ReLU networks that are born alive: figures 2, 4, 5 and 6 of the bounds paper.

    Args:
        figure: 2 (probability against both bounds), 4 (along the widths n(k) that eq. 9 asks for), 5 (normalised
            variance of the outputs) or 6 (share of living data under three initialisations).
        networks: of each width; 1,024 by default.
        points: of data, new for every network; 1,024 by default.
        max_width: widths go from 1 to this; 15 by default.
        depth: layers; as in the paper by default.
        seed: of all that is drawn. The result depends on it and on what stands above it, not on threads.
        bias: draw biases like the weights, and data of every size (Cauchy); none, and normal data, by default.
        non_negative: data without negative values.
        threads: so many at once; the cores of this machine where None.
        work: an .npz file that keeps what is done: the same call goes on from it.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError: numbers that make no sense, or a work file of another simulation.
        OutputError: the work file cannot be written.
    """
    if threads is not None:
        checked(threads, "threads")
    settings = Settings.of(
        figure,
        networks=networks,
        points=points,
        max_width=max_width,
        depth=depth,
        seed=seed,
        bias=bias,
        non_negative=non_negative,
    )
    kept = Work(settings, work)

    def on_block(done: int, total: int) -> None:
        kept.save_now_and_then()
        if progress is not None:
            progress({"phase": _PHASE, "done": 100 * done // total, "total": 100})

    with kept.kept():
        return run(settings, threads=threads, known=kept.sums, on_block=on_block)


def phases(
    *,
    networks: int | None = None,
    points: int | None = None,
    max_width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    non_negative: bool = False,
    threads: int | None = None,
    work: StrPath | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Count what is born alive by depth and width, plain and residual networks (lifecycle paper, figure 9).

    Residual layers are x + ReLU(Wx). The paper gives no formula; the borders are where the bounds of a plain network
    are one half.

    Args:
        networks: of each width and kind; 256 by default.
        points: of standard normal data, new for every network; 128 by default.
        max_width: widths go from 1 to this; 12 by default.
        depth: layers; 256 by default.
        seed: of all that is drawn. The result does not depend on threads.
        non_negative: data without negative values.
        threads: so many at once; the cores of this machine where None.
        work: an .npz file that keeps what is done: the same call goes on from it.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError: numbers that make no sense, or a work file of another simulation.
        OutputError: the work file cannot be written.
    """
    return simulate(
        PHASES,
        networks=networks,
        points=points,
        max_width=max_width,
        depth=depth,
        seed=seed,
        non_negative=non_negative,
        threads=threads,
        work=work,
        progress=progress,
    )


def variance(
    scheme: str | Sequence[str] | None = None,
    *,
    activation: str = "relu",
    width: int = 256,
    depth: int = 16,
    networks: int = 16,
    points: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> VarianceTable:
    """The size of pre-activations layer by layer, predicted and measured (lifecycle paper, eq. 5 and figure 3).

    Args:
        scheme: initialisation schemes by name, as 'he-normal'; three usual ones by default.
        activation: what stands between the layers, whatever its case.
        width: neurons of each layer, and features of the data.
        depth: layers.
        networks: of each scheme, drawn and measured; 0 for none.
        points: of standard normal data.
        seed: of all that is drawn.
        progress: called with {'phase': str, 'done': int, 'total': int}.

    Raises:
        UsageError: a name or number that makes no sense.
    """

    def on_network(done: int, total: int) -> None:
        if progress is not None:
            progress({"phase": _PHASE, "done": done, "total": total})

    schemes = (
        list(scheme or ()) if not isinstance(scheme, str) and np.iterable(scheme or ()) else [str(scheme)]
    )
    return sizes(
        schemes,
        named(activation),
        width,
        depth,
        networks=networks,
        points=points,
        seed=seed,
        on_network=on_network,
    )


def activation_table(names: str | Sequence[str] = ()) -> ActivationTable:
    """Activations side by side (lifecycle paper, Table 1 and figure 2): those of these names, or all of one z.

    Raises:
        UsageError: a name that is none.
    """
    return table_of(names)
