"""The task of the supervised child: gradients at every layer of a checkpoint over data, beside eq. 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nla.calibration import Calibration, open_calibration
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.errors import DataError, ModelError, one_line
from nla.gradients import weights
from nla.gradients.bounding import LARGEST_KERNEL, Placed, SizedLayers, bound_of, placed, windows_of
from nla.gradients.branches import Paths
from nla.gradients.labelled import Labelled, classes_of
from nla.gradients.layers import Maker, Measured, layers_of
from nla.gradients.losses import loss_of
from nla.gradients.measuring import Rows, Sums, Tensor, Wanted, measure
from nla.graph import query
from nla.graph.assemble import assemble
from nla.graph.backward import losses
from nla.graph.backward.differentiate import Backward, backward_graph
from nla.graph.find import walked
from nla.graph.prepare import Prepared, prepare
from nla.graph.walk import Walk
from nla.replay.blame import names_files
from nla.replay.opening import Model
from nla.replay.session import check_providers
from nla.replay.tasks import (
    Arguments,
    Arrays,
    Report,
    checkpoint_given,
    data_given,
    options_given,
    throttled,
    workers_of,
)
from nla.theory.gradient_flow import QUANTILES, Bound, GradientFlow, LayerGradient
from nla.theory.slopes import largest_slope

Floats = NDArray[np.float64]
_NO_VALUES: Floats = np.zeros(0)
_BOUNDING = "bounding the gradient"


@dataclass(frozen=True, eq=False)
class _Has:
    """What gradients are asked of."""

    checkpoint: OnnxCheckpoint
    prepared: Prepared
    data: Calibration
    walk: Walk


@names_files
def gradient(
    arguments: Arguments, arrays: Arrays, report: Report
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The gradient at every layer, as plain values: `GradientFlow.to_plain`.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used.
    """
    return _Flow(_opened(arguments, arrays, report), arguments, report).measured().to_plain()


def _opened(arguments: Arguments, arrays: Arrays, report: Report) -> _Has:
    check_providers(arguments["providers"])
    checkpoint, constants = checkpoint_given(arguments, arrays, report)
    first = prepare(checkpoint, constants)
    report({"phase": "reading the data"})
    given = data_given(arguments, arrays)
    data = open_calibration(given, first.inputs, options_given(arguments, arrays, checkpoint))
    report({"phase": "looking for sites"})
    prepared = prepare(checkpoint, constants, data.shapes)
    return _Has(checkpoint, prepared, data, walked(prepared.model))


class _Flow:
    """What is measured, and how it is put together."""

    def __init__(self, has: _Has, arguments: Arguments, report: Report) -> None:
        self._has = has
        self._arguments = arguments
        self._report = report
        self._notes = [*has.prepared.notes, *_drawn(has.walk)]
        sites = assemble(has.walk, frozenset(arguments["include"]), norms=False)
        layers, self._why = layers_of(has.walk, sites)
        if not layers:
            raise ModelError(
                f"{one_line(has.checkpoint.path)}: no layer has pre-activations of its own; `nla sites` lists what was "
                "not understood, and `--include linear` adds layers without an activation"
            )
        report({"phase": _BOUNDING})
        norms = SizedLayers(has.walk, self._step)
        self._places, self._unbounded = placed(has.walk, sites, norms)
        report({"phase": "writing the backward pass"})
        self._backward = backward_graph(
            has.prepared.model,
            _tensors(layers, self._places),
            loss=arguments["loss"],
            output=arguments["output"],
        )
        self._paths = Paths(has.walk, norms, self._backward.output) if self._unbounded else None
        given = self._backward.gradients
        self._layers = [each for each in layers if each.tensor in given]
        self._why |= {
            each.site.name: self._backward.stopped.get(
                each.tensor, "It does not lead to the output that the loss is of."
            )
            for each in layers
            if each.tensor not in given
        }
        if not self._layers:
            stopped = next((self._backward.stopped.get(each.tensor, "") for each in layers), "")
            raise ModelError(
                stopped.rstrip(".")
                or f"the gradient of the output '{one_line(self._backward.output)}' arrives at no layer: name another "
                f"output ({', '.join(map(one_line, has.prepared.outputs))})"
            )
        self._data = _labelled(has.data, self._backward, self._notes)

    def _step(self) -> None:
        self._report({"phase": _BOUNDING})

    @np.errstate(all="ignore")
    def measured(self) -> GradientFlow:
        """The result. Raises ModelError, DataError."""
        has, back, arguments = self._has, self._backward, self._arguments
        ends = self._ends()
        output = Tensor(back.output, *_channels(back))
        wanted = [self._wanted(each) for each in self._layers]
        wanted += [Wanted(tensor) for tensor in ends.values()]
        wanted.append(Wanted(replace(output, name=back.output_gradient)))
        result = measure(
            self._model(),
            self._data,
            wanted,
            output,
            loss_of(arguments["loss"], self._data.classes),
            workers_of(arguments),
            partial(throttled(self._report), "running the backward pass"),
        )
        count = len(self._layers)
        means = {each.tensor: _mean(sums) for each, sums in zip(self._layers, result.sums, strict=False)}
        means |= {name: _mean(sums) for name, sums in zip(ends, result.sums[count:], strict=False)}
        means[back.output] = _mean(result.sums[-1])
        layers = [
            self._layer(each, sums, result.samples, means)
            for each, sums in zip(self._layers, result.sums, strict=False)
        ]
        layers.append(_summed(back.output, back.output, "output", "", result.sums[-1], result.samples))
        return GradientFlow(
            layers=tuple(layers),
            loss=arguments["loss"],
            mean_loss=float(np.concatenate(result.losses).mean()),
            samples=result.samples,
            left_out=result.left_out,
            not_measured=self._why,
            checkpoint={
                **has.checkpoint.describe(),
                "parameters": has.prepared.parameters,
                **arguments["construction"],
            },
            data=has.data.describe(),
            notes=tuple(self._notes),
            settings={"batch_size": result.batch_size, "one_by_one": result.one_by_one},
        )

    def _model(self) -> Model:
        has, fed = self._has, self._backward.fed
        return Model(
            self._backward.model,
            (*has.prepared.inputs, *(() if fed is None else (fed,))),
            has.prepared.constant_feeds,
            has.checkpoint.map_external(),
            has.checkpoint.size_bytes,
            tuple(self._arguments["providers"]),
            self._arguments["verbose"],
        )

    def _ends(self) -> dict[str, Tensor]:
        """By tensor, the gradient at what chains end at, where no layer is measured there."""
        known = {each.tensor for each in self._layers} | {self._backward.output}
        found = {}
        for weighted in self._has.walk.layers.values():
            name = query.name(weighted.node.outputs[0])
            ends = any(place.end == name for place in self._places.values())
            if ends and name not in known and name in self._backward.gradients and weighted.spread is None:
                found[name] = Tensor(self._backward.gradients[name], weighted.outputs, (weighted.out_axis,))
        return found

    def _over_paths(self, each: Measured, mean: float, end: float) -> Bound | None:
        """The bound of a layer that stands in no chain; None where there is none."""
        slope = largest_slope(each.site.activation)
        return None if self._paths is None else self._paths.bound(each.tensor, slope, mean, end)

    def _wanted(self, each: Measured) -> Wanted:
        gradients, site = self._backward.gradients, each.site
        return Wanted(Tensor(gradients[each.tensor], site.neurons, site.channel_axes), self._rows(each.maker))

    def _rows(self, maker: Maker | None) -> Rows | None:
        if maker is None or maker.made not in self._backward.gradients:
            return None
        weighted = maker.weighted
        summed = weights.dense(weighted)
        if weighted.spatial:
            seen = windows_of(self._has.walk, weighted)
            if seen is None or query.product(seen.kernel) > LARGEST_KERNEL:
                return None
            summed = weights.convolution(weighted, seen)
        made = Tensor(self._backward.gradients[maker.made], weighted.outputs, (weighted.out_axis,))
        return Rows(Tensor(maker.read, weighted.inputs, (weighted.in_axis,)), made, summed)

    def _layer(self, each: Measured, sums: Sums, samples: int, means: Mapping[str, float]) -> LayerGradient:
        site, maker = each.site, each.maker
        made = _summed(site.name, each.tensor, site.role, site.activation.name, sums, samples)
        place = self._places.get(site.name)
        end = means[self._backward.output]
        bound = self._over_paths(each, made.mean, end) if place is None else bound_of(place, made.mean, means)
        made = replace(
            made,
            bound=bound,
            unbounded="" if bound is not None else self._unbounded.get(site.name, ""),
            rows_skipped=each.skipped,
        )
        if maker is None or not isinstance(sums.rows, np.ndarray):
            return (
                made
                if maker is None
                else replace(made, rows_skipped="Its windows are not known before a run, or too large.")
            )
        own = slice(maker.offset, maker.offset + site.neurons)
        bias = np.abs(np.asarray(sums.bias)[own]) / samples * _beta(maker)
        return replace(
            made,
            row_norm=np.linalg.norm(sums.rows[own], axis=1) / samples,
            bias_abs=bias if maker.has_bias else _NO_VALUES,
        )


def _tensors(layers: Sequence[Measured], places: Mapping[str, Placed]) -> list[str]:
    """The tensors whose gradients are needed, each once."""
    found = [each.tensor for each in layers]
    found += [each.maker.made for each in layers if each.maker is not None]
    return list(dict.fromkeys([*found, *(place.end for place in places.values())]))


def _channels(back: Backward) -> tuple[int, tuple[int]]:
    """(how many channels the output has, their axis from the end). Raises ModelError."""
    sizes = back.output_sizes
    axis = 1 - len(sizes) if len(sizes) > 3 else -1
    size = sizes[axis] if len(sizes) > 1 else None
    if not isinstance(size, int):
        shown = ", ".join("?" if each is None else str(each) for each in sizes)
        raise ModelError(
            f"the output '{one_line(back.output)}' has the shape [{one_line(shown)}], and a number of channels that "
            "is known is needed beside the samples: name another output"
        )
    return size, (axis,)


def _beta(maker: Maker) -> float:
    node = maker.weighted.node
    return abs(query.real(node, "beta", 1.0)) if query.kind(node) == "Gemm" else 1.0


def _mean(sums: Sums) -> float:
    return float(np.concatenate(sums.norms).mean())


def _summed(name: str, tensor: str, role: str, activation: str, sums: Sums, samples: int) -> LayerGradient:
    norms = np.concatenate(sums.norms)
    return LayerGradient(
        name=name,
        tensor=tensor,
        role=role,
        activation=activation,
        neurons=len(np.asarray(sums.peak)),
        mean=float(norms.mean()),
        quantiles=tuple(float(value) for value in np.quantile(norms, QUANTILES)),
        zero_samples=int(np.count_nonzero(norms == 0)),
        rms=np.sqrt(np.asarray(sums.squares) / samples),
        peak=np.asarray(sums.peak),
        row_norm=_NO_VALUES,
        bias_abs=_NO_VALUES,
    )


def _drawn(walk: Walk) -> list[str]:
    """A note where the model draws numbers: what is measured differs from run to run."""
    drawing = [node for node in walk.nodes if query.kind(node) in query.RANDOM or _drops(walk, node)]
    named = ", ".join(f"{query.kind(node)} '{one_line(query.node_name(node))}'" for node in drawing[:3])
    return [f"the model draws at random ({named}): gradients differ from run to run"] if drawing else []


def _drops(walk: Walk, node: ir.Node) -> bool:
    training = query.operand(node, 2) if query.kind(node) == "Dropout" else None
    return training is not None and walk.flow.constants.scalar(training) != 0


def _labelled(data: Calibration, backward: Backward, notes: list[str]) -> Labelled:
    """The data with what the loss is fed. Raises DataError: it needs labels, and there are none."""
    if backward.fed is None:
        return Labelled(data, None, None)
    if data.labels is None:
        raise DataError(
            "the data hold no labels, and cross-entropy needs the class of each sample: give --labels, or "
            f"--loss {losses.MEAN_SQUARE} or {losses.SUM}, which need none"
        )
    assert backward.fed.shape is not None
    classes, note = classes_of(data.labels, int(backward.fed.shape[1] or 0))
    notes += [note] if note else []
    return Labelled(data, backward.fed, classes)
