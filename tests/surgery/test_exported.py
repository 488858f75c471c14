"""Networks of well-known shapes, exported by PyTorch: what is planted silent is found, leaves, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import exported_models as shapes
from exported_models import FAR, Network, Planted, network
from torch import nn

import nla
from nla.manifest.document import Manifest
from nla.surgery.carried import without

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGE = {"x": (3, 16, 16)}
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
SILENT = ("dead", "constant")


@dataclass(frozen=True)
class Case:
    """A network, how it is exported, and the least share of what is planted that leaves."""

    made: Callable[[], Network]
    least: float = 1.0
    dynamo: bool = False
    opset: int = 17
    norms: bool = False
    then: Callable[[onnx.ModelProto, Network, Path], onnx.ModelProto] | None = None
    """What happens to the exported model."""
    why: tuple[str, ...] = ()
    """Parts of the reasons of all that stays."""
    slow: bool = False


BORDER, LIVELY, UNKNOWN, UNSAID = "at the border", "not silent", "not known", "no action says what value"


def image(module: Callable[[], nn.Module], **options: Any) -> Callable[[], Network]:
    return lambda: network(module(), IMAGE, **options)


def resnet() -> nn.Module:
    return shapes.Classifier(16, [shapes.Residual(16, 8, 16), shapes.Residual(16, 8, 24, 2)], 24)


def mobilenet(squeeze: bool = True) -> nn.Module:
    inner = shapes.Squeeze(24, 8, nn.ReLU, nn.Hardsigmoid) if squeeze else None
    blocks = [shapes.Inverted(16, 24, nn.ReLU6, inner), shapes.convolution(16, 32, 1, act=nn.Hardswish)]
    return shapes.Classifier(16, blocks, 32, nn.Hardswish)


def efficientnet() -> nn.Module:
    inner = shapes.Squeeze(24, 6, nn.SiLU, nn.Sigmoid)
    return shapes.Classifier(16, [shapes.Inverted(16, 24, nn.SiLU, inner)], 16, nn.SiLU)


def vgg() -> nn.Module:
    layers = [nn.Conv2d(3, 12, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(400, 24), nn.ReLU(), nn.Linear(24, 5))


def wavenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 12, 1), shapes.Dilated(12, 16, 1), shapes.Dilated(12, 16, 2), nn.Conv1d(12, 3, 1)
    )


def words(**options: Any) -> Callable[[], Network]:
    return lambda: shapes.silence_heads(network(shapes.Words(**options), {"ids": (9,)}, tokens=50))


# --- after the export


def optimised(proto: onnx.ModelProto, made: Network, folder: Path) -> onnx.ModelProto:
    """As onnxruntime's extended optimisations leave it: fused convolutions and GELUs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(str(folder / "optimised.onnx"))


def quantised(per_channel: bool) -> Callable[[onnx.ModelProto, Network, Path], onnx.ModelProto]:
    """Weights and activations of 8 bits, as QDQ pairs."""

    def quantise(proto: onnx.ModelProto, made: Network, folder: Path) -> onnx.ModelProto:
        from onnxruntime.quantization import CalibrationDataReader, quantize_static

        class Samples(CalibrationDataReader):
            def __init__(self) -> None:
                self.left = [made.feeds(0)]

            def get_next(self) -> Any:
                return self.left.pop() if self.left else None

        onnx.save(proto, str(folder / "float.onnx"))
        quantize_static(folder / "float.onnx", folder / "int8.onnx", Samples(), per_channel=per_channel)
        return onnx.load(str(folder / "int8.onnx"))

    return quantise


def dynamic(proto: onnx.ModelProto, made: Network, folder: Path) -> onnx.ModelProto:
    """Weights of 8 bits, activations quantised in every run."""
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(proto, str(folder / "float.onnx"))
    quantize_dynamic(folder / "float.onnx", folder / "int8.onnx")
    return onnx.load(str(folder / "int8.onnx"))


def overridable(proto: onnx.ModelProto, made: Network, folder: Path) -> onnx.ModelProto:
    """Of IR version 3: weights are inputs with defaults."""
    proto.ir_version = 3
    tensors = [(t.name, t.data_type, list(t.dims)) for t in proto.graph.initializer]
    proto.graph.input.extend(onnx.helper.make_tensor_value_info(*tensor) for tensor in tensors)
    return proto


def near(module: Callable[[], nn.Module]) -> Callable[[], Network]:
    """Dead units that are not so far below zero that 8 bits hold nothing else."""

    def make() -> Network:
        made = network(module(), IMAGE, alike=True)
        for parameter in made.module.parameters():
            parameter.data[parameter.data == FAR] = -12.0
        return made

    return make


STAYS = (BORDER, LIVELY, UNKNOWN, UNSAID)
CASES = {
    "ResNet": Case(image(resnet, alike=True), 0.55, why=STAYS),
    "ResNet, norms kept, each layer its own": Case(image(resnet), 0.55, norms=True, why=STAYS),
    "ResNet, weights are inputs": Case(
        image(resnet, alike=True), 0.55, opset=11, then=overridable, why=STAYS
    ),
    "ResNet, optimised": Case(image(resnet, alike=True), 0.55, then=optimised, why=STAYS),
    "MobileNet": Case(image(mobilenet, alike=True), 0.85, why=(UNKNOWN,)),
    "MobileNet, each layer its own": Case(image(mobilenet), 0.55, why=STAYS),
    "MobileNet of 8 bits": Case(near(lambda: mobilenet(False)), 0.8, then=quantised(False), why=(UNKNOWN,)),
    "EfficientNet, each layer its own": Case(image(efficientnet), 0.4, why=STAYS),
    "ShuffleNet": Case(
        image(lambda: shapes.Classifier(24, [shapes.Shuffled(24), shapes.Shuffled(24)], 24)), 0.4, why=STAYS
    ),
    "VGG": Case(image(vgg)),
    "U-Net": Case(image(shapes.Skips), 0.8, why=(BORDER,)),
    "YOLO": Case(image(lambda: shapes.Classifier(16, [shapes.Partial(16, 24)], 24, nn.SiLU)), 0.7, why=STAYS),
    "WaveNet": Case(lambda: network(wavenet(), {"x": (2, 24)}), 0.6, why=(LIVELY,)),
    "twins": Case(lambda: network(shapes.Twins(), {"a": (3, 16, 16), "b": (3, 16, 16)}), 0.85, why=(BORDER,)),
    "LSTM": Case(lambda: shapes.silence_cells(network(shapes.Recurrent(), {"x": (7, 6)}))),
    "LSTM, newer exporter": Case(
        lambda: shapes.silence_cells(network(shapes.Recurrent(), {"x": (7, 6)})),
        dynamo=True,
        opset=18,
        slow=True,
    ),
    "GPT": Case(words()),
    "GPT of 8 bits, dynamic": Case(words(), 0.9, then=dynamic, why=("not zero",)),
    "GPT, fused, newer exporter": Case(words(fused=True), dynamo=True, opset=18),
    "LLaMA": Case(words(groups=2, rotated=True, act=nn.SiLU)),
    "LLaMA, fused, newer exporter": Case(
        words(groups=2, rotated=True, fused=True, act=nn.SiLU), dynamo=True, opset=21, slow=True
    ),
}


def run(path: Path, feeds: dict[str, Any], level: str = LEVELS[0]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [value.astype(np.float64) for value in session.run(None, feeds)]


def apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Largest difference, relative to an output's size where that is above one."""
    return max(
        float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in zip(one, other, strict=True)
    )


def placed(planted: list[Planted], inspection: nla.Inspection) -> dict[str, list[int]]:
    """By site the units that were planted in it: the first site of the width in which all of them are silent."""
    found: dict[str, list[int]] = {}
    for each in planted:
        fits = (
            result.name
            for result in inspection.sites
            if result.site.neurons == each.width
            and result.name not in found
            and np.isin(result.states[each.units], SILENT).all()
        )
        name = next(fits, None)
        assert name is not None, f"not all of {each} are found silent"
        found[name] = each.units
    return found


def only(manifest: Manifest, planted: dict[str, list[int]]) -> Manifest:
    """The manifest without what the data alone shows silent: only the rest holds on any data."""
    kept = (without(a, [u for u in a.units if u not in planted.get(a.site, ())]) for a in manifest.actions)
    return nla.Manifest(**{**vars(manifest), "actions": tuple(action for action in kept if action.units)})


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if case.slow else n for n, case in CASES.items()]
)
def test_silent_units_are_found_and_leave_and_no_output_changes(name: str, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    case = CASES[name]
    made = case.made()
    proto = made.export(dynamo=case.dynamo, opset=case.opset, norms=case.norms)
    source, target = tmp_path / "source.onnx", tmp_path / "cut.onnx"
    onnx.save(case.then(proto, made, tmp_path) if case.then else proto, str(source))

    inspection = nla.inspect(source, made.feeds(0), output=tmp_path / "run.h5", in_process=True, threads=1)
    planted = placed(made.planted, inspection)
    manifest = only(nla.plan(tmp_path / "run.h5", "prune", in_process=True), planted)
    report = nla.apply(manifest, source, target, in_process=True)

    onnx.checker.check_model(str(target), full_check=True)
    for level in LEVELS:
        assert apart(run(source, made.feeds(1), level), run(target, made.feeds(1), level)) <= 1e-5, level
    done = {(a.site, unit) for a in report.actions for unit in a.done}
    wanted = {(site, unit) for site, units in planted.items() for unit in units}
    declined = [(d.site, d.units, d.reason) for d in manifest.declined]
    declined += [(a.site, refused.units, refused.reason) for a in report.actions for refused in a.refused]
    told = {(site, unit): reason for site, units, reason in declined for unit in units}
    assert done <= wanted
    assert len(done) >= case.least * len(wanted)
    for unit in wanted - done:
        assert any(part in told[unit] for part in case.why), told[unit]
