"""Cutting small graphs in tests: what is silent is asked of onnxruntime, and so is whether the outputs stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, shape_inference
from site_graphs import model, run

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.manifest.document import Action, Manifest
from nla.surgery.carry_out import carry_out
from nla.surgery.report import SurgeryReport
from nla.surgery.structure import Structure

Array = NDArray[Any]
FAR = -1e6
"""A bias that silences a Relu for good."""


@dataclass(frozen=True)
class Outcome:
    """A graph before and after surgery."""

    before: ModelProto
    after: ModelProto
    report: SurgeryReport
    path: Path

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight after the cut."""
        return self.weight(name).shape

    def weight(self, name: str) -> Array:
        """A weight after the cut."""
        return numpy_helper.to_array(next(t for t in self.after.graph.initializer if t.name == name))

    @property
    def saved(self) -> int:
        """Elements of float weights that are gone."""
        return _elements(self.before) - _elements(self.after)

    @property
    def done(self) -> dict[str, tuple[int, ...]]:
        """Units that left, by site."""
        found: dict[str, tuple[int, ...]] = {}
        for action in self.report.actions:
            found[action.site] = tuple(sorted((*found.get(action.site, ()), *action.done)))
        return {site: units for site, units in found.items() if units}

    @property
    def reasons(self) -> str:
        """Why units stayed."""
        return "; ".join(entry.reason for action in self.report.actions for entry in action.refused)

    def nodes(self, kind: str) -> list[onnx.NodeProto]:
        """Nodes of a kind after the cut."""
        return [node for node in self.after.graph.node if node.op_type == kind]


def _elements(proto: ModelProto) -> int:
    return sum(int(np.prod(t.dims)) for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)


def random(*shape: int, seed: int = 0) -> Array:
    """Seeded normal numbers of variance 1 / fan-in."""
    numbers = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return (numbers / max(1.0, np.prod(shape[1:])) ** 0.5).astype(np.float32)


def bias(size: int, *dead: int, seed: int = 0) -> Array:
    """Seeded numbers, far below zero at some units."""
    made = np.random.default_rng([seed, size]).standard_normal(size).astype(np.float32) * 0.3
    made[list(dead)] = FAR
    return made


def feeds(proto: ModelProto, samples: int = 64) -> dict[str, Array]:
    """Seeded numbers for every input that is no weight; free axes get `samples`."""
    numbers, weights = np.random.default_rng(1), {t.name for t in proto.graph.initializer}
    return {
        value.name: numbers.standard_normal(
            [d.dim_value or samples for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in proto.graph.input
        if value.name not in weights
    }


def silent(path: Path, given: Mapping[str, Array], kinds: Sequence[str] = ("remove", "fold")) -> list[Action]:
    """An action for every unit that is one value on the data: removed where that is zero, else folded."""
    proto, structure = onnx.load(str(path)), Structure.of(open_onnx(path))
    sites = [structure.site(name) for name in structure.drafts]
    made = run(proto, given, [site.name for site in sites]) if sites else []
    actions = []
    for site, tensor in zip(sites, made, strict=True):
        axes = [axis if axis < 0 else axis - tensor.ndim for axis in site.channel_axes]
        by_unit = np.moveaxis(tensor, axes, range(len(axes))).reshape(site.neurons, -1)
        zero = np.flatnonzero((by_unit == 0).all(1))
        one = np.flatnonzero((by_unit == by_unit[:, :1]).all(1) & (by_unit[:, 0] != 0))
        if len(zero) and "remove" in kinds:
            actions.append(Action(f"remove {site.name}", "remove", site.name, tuple(zero.tolist())))
        if len(one) and "fold" in kinds and site.unit_size == 1:
            values = {"values": by_unit[one, 0].astype(float).tolist()}
            actions.append(Action(f"fold {site.name}", "fold", site.name, tuple(one.tolist()), values))
    return actions


def operate(
    proto: ModelProto,
    folder: Path,
    actions: Sequence[Action] | None = None,
    *,
    round_to: int = 1,
    given: Mapping[str, Array] | None = None,
    tolerance: float = 1e-5,
) -> Outcome:
    """The graph after surgery (on all that is silent, or what `actions` say): valid, and its outputs unchanged."""
    source, target = folder / "source.onnx", folder / "edited.onnx"
    onnx.save(proto, str(source))
    given = feeds(proto) if given is None else given
    edit = ModelEdit(open_onnx(source))
    report = carry_out(
        edit, Manifest({}, actions=tuple(silent(source, given) if actions is None else actions)), round_to
    )
    target.unlink(missing_ok=True)
    edit.write(target)
    after = onnx.load(str(target))
    onnx.checker.check_model(str(target), full_check=True)
    shape_inference.infer_shapes(after, check_type=True, strict_mode=True, data_prop=True)
    expected = outputs(proto, given)
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"):
        for before, now in zip(expected, outputs(after, given, level), strict=True):
            np.testing.assert_allclose(now, before, rtol=tolerance, atol=tolerance, err_msg=level)
    assert [value.name for value in after.graph.output] == [value.name for value in proto.graph.output]
    return Outcome(proto, after, report, target)


def outputs(proto: ModelProto, given: Mapping[str, Array], level: str = "ORT_DISABLE_ALL") -> list[Array]:
    """What onnxruntime makes of the data at an optimisation level."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, dict(given))]


__all__ = ["FAR", "Outcome", "bias", "feeds", "model", "operate", "outputs", "random", "silent"]
