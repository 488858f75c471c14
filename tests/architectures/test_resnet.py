"""ResNet: the built graph against a NumPy forward pass, and against transformers where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resnet_reference import Reference, make
from stored_networks import furthest, run, stored

from nla.architectures.opening import build, open_checkpoint
from nla.checkpoint.built import BuiltCheckpoint
from nla.errors import ModelError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare

BASE: dict[str, Any] = {
    "model_type": "resnet",
    "num_channels": 3,
    "embedding_size": 8,
    "hidden_sizes": [16, 16, 24],
    "depths": [2, 1, 2],
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "bottleneck": ({}, 0),
    "basic with a classifier": ({"layer_type": "basic"}, 7),
    "stride in the first stage": ({"downsample_in_first_stage": True, "hidden_sizes": [8, 16, 24]}, 5),
    "stride in the first convolution": ({"downsample_in_bottleneck": True}, 0),
    "basic, stride in the first stage": (
        {"layer_type": "basic", "downsample_in_first_stage": True, "hidden_sizes": [8, 8, 8]},
        0,
    ),
    "another activation": ({"hidden_act": "silu"}, 3),
    "grey images": ({"num_channels": 1, "hidden_act": "tanh", "layer_type": "basic"}, 2),
}
TOLERANCE = 1e-5


def pixels(config: dict[str, Any]) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(2, config["num_channels"], 37, 45)).astype(np.float32)


def made(
    folder: Path, changes: dict[str, Any], labels: int, **more: str
) -> tuple[BuiltCheckpoint, Reference]:
    config = {**BASE, **changes}
    prefix = more.get("prefix", "resnet." if labels else "")
    tensors = make(config, 1, labels, prefix)
    source = stored(folder, tensors, config)
    return build(source), Reference(tensors, config, pixels(config))


def errors(built: BuiltCheckpoint, seen: dict[str, np.ndarray], x: np.ndarray) -> dict[str, float]:
    found = run(built, {"pixel_values": x}, list(seen))
    return {name: furthest(found[name], value) for name, value in seen.items()}


@pytest.mark.parametrize(("changes", "labels"), CASES.values(), ids=CASES)
def test_outputs_and_every_activation_equal_numpy(changes: dict[str, Any], labels: int, tmp_path: Path):
    built, reference = made(tmp_path, changes, labels)
    wrong = errors(built, reference.seen, pixels({**BASE, **changes}))
    assert max(wrong.values()) < TOLERANCE, wrong
    outputs = [info.name for info in built.proto.graph.output]
    assert outputs == ["last_hidden_state", "pooler_output", *(["logits"] if labels else [])]


@pytest.mark.parametrize(
    "mistake",
    [
        {"hidden_act": "silu"},
        {"downsample_in_bottleneck": True},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
def test_a_mistake_in_the_configuration_is_seen(mistake: dict[str, Any], tmp_path: Path):
    _, reference = made(tmp_path, {}, 0)
    built = build(stored(tmp_path, make(BASE, 1), {**BASE, **mistake}))
    outputs = {name: reference.seen[name] for name in ("last_hidden_state", "pooler_output")}
    assert min(errors(built, outputs, pixels(BASE)).values()) > 1e-3


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_every_relu_is_a_site(layer_type: str, tmp_path: Path):
    built, reference = made(tmp_path, {"layer_type": layer_type}, 3)
    sites, left = find_sites(prepare(built).model)
    expected = [name for name in reference.seen if name.endswith(".activation")]
    assert sorted(site.name for site in sites) == sorted(expected)
    assert {site.role for site in sites} == {"conv"}
    assert not left
    widths = {site.name: site.neurons for site in sites}
    assert all(widths[name] == reference.seen[name].shape[1] for name in expected)


def test_cuts_stand_behind_the_stem_and_every_residual_layer(tmp_path: Path):
    built, _ = made(tmp_path, {}, 0)
    layers = [(stage, at) for stage, depth in enumerate(BASE["depths"]) for at in range(depth)]
    assert built.cuts == (
        "embedder.pooler",
        *(f"encoder.stages.{stage}.layers.{at}.activation" for stage, at in layers),
    )
    made_before: set[str] = set()
    cuts = list(built.cuts)
    for node in built.proto.graph.node:  # behind a cut nothing that was made before it is read
        made_before.update(node.output)
        if cuts and cuts[0] in node.output:
            cut = cuts.pop(0)
            after = built.proto.graph.node[list(built.proto.graph.node).index(node) + 1 :]
            read = {name for later in after for name in later.input} & made_before
            assert read <= {cut}
    assert not cuts


@pytest.mark.parametrize("prefix", ["", "resnet."])
def test_names_with_and_without_prefix(prefix: str, tmp_path: Path):
    built, reference = made(tmp_path, {}, 0, prefix=prefix)
    assert max(errors(built, reference.seen, pixels(BASE)).values()) < TOLERANCE


def test_half_precision_is_computed_in_single(tmp_path: Path):
    tensors = {n: a.astype(np.float16) if a.ndim else a for n, a in make(BASE, 1).items()}
    built = build(stored(tmp_path, tensors, BASE))
    reference = Reference({n: a.astype(np.float32) for n, a in tensors.items()}, BASE, pixels(BASE))
    assert max(errors(built, reference.seen, pixels(BASE)).values()) < TOLERANCE


BROKEN: dict[str, tuple[dict[str, Any], dict[str, np.ndarray | None], str]] = {
    "another layer_type": ({"layer_type": "preactivation"}, {}, "layer_type"),
    "stages that do not pair": ({"depths": [2, 1]}, {}, "hidden_sizes has 3 stages and depths 2"),
    "depths beyond reason": ({"depths": [1 << 20] * 3}, {}, "layers"),
    "sizes of another model": ({"hidden_sizes": [16, 16, 32]}, {}, "disagree"),
    "an unknown activation": ({"hidden_act": "wiggle"}, {}, "wiggle"),
    "a missing tensor": ({}, {"encoder.stages.1.layers.0.shortcut.convolution.weight": None}, "lacks"),
    "a tensor that nothing uses": ({}, {"encoder.surprise": np.ones(3, np.float32)}, "used by nothing"),
    "a classifier of one dimension": ({}, {"classifier.1.weight": np.ones(3, np.float32)}, "classifier"),
    "a scalar classifier": ({}, {"classifier.1.weight": np.ones((), np.float32)}, "classifier"),
}


@pytest.mark.parametrize(("changes", "replaced", "told"), BROKEN.values(), ids=BROKEN)
def test_configurations_and_tensors_that_disagree_are_refused(
    changes: dict[str, Any], replaced: dict[str, np.ndarray | None], told: str, tmp_path: Path
):
    tensors = {n: a for n, a in {**make(BASE, 1), **replaced}.items() if a is not None}
    source = stored(tmp_path, tensors, {**BASE, **changes})
    with pytest.raises(ModelError, match=told) as caught:
        build(source)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("changes", "labels"), CASES.values(), ids=CASES)
def test_outputs_and_every_activation_equal_transformers(
    changes: dict[str, Any], labels: int, tmp_path: Path
):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = {**BASE, **changes}
    kind = transformers.ResNetForImageClassification if labels else transformers.ResNetModel
    own = {key: value for key, value in config.items() if key != "model_type"}
    model = kind(transformers.ResNetConfig(**own, **({"num_labels": labels} if labels else {}))).eval()
    tensors = make(config, 2, labels, "resnet." if labels else "")
    model.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})
    model.save_pretrained(tmp_path)
    seen: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        return lambda *given: seen.__setitem__(name, given[-1].numpy().copy())

    for name, module in model.named_modules():
        if name.endswith("activation") and not isinstance(module, torch.nn.Identity):
            module.register_forward_hook(keep(name))
    with torch.inference_mode():
        out = model(torch.tensor(pixels(config)))
    seen |= {key: out[key].numpy() for key in ("last_hidden_state", "pooler_output", "logits") if key in out}
    built = open_checkpoint(tmp_path)
    assert isinstance(built, BuiltCheckpoint)
    wrong = errors(built, seen, pixels(config))
    assert len(wrong) > 10
    assert max(wrong.values()) < TOLERANCE, wrong
