"""Sites of real exports: what is known of their architectures must be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import ModelError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.site import Site

pytestmark = pytest.mark.shared


def sites(path: Path, **constants: float) -> tuple[Site, ...]:
    return find_sites(prepare(open_onnx(path), constants).model)[0]


LEAST = {  # path: (sites, neurons, activations among them, constants)
    "wonnx/opt-mnist.onnx": (2, 24, {"Relu"}, {}),
    "ort-examples/mnist.onnx": (2, 24, {"Relu"}, {}),
    "ultraface/version-RFB-320.onnx": (37, 3548, {"Relu"}, {}),
    "ultraface/version-slim-320_without_postprocessing.onnx": (34, 3552, {"Relu"}, {}),
    "mlagents/3DBall.onnx": (2, 256, {"Swish"}, {}),
    "mlagents/PushBlock.onnx": (2, 512, {"Swish"}, {}),
    "mlagents/Hallway.onnx": (3, 320, {"Swish", "LSTM"}, {"recurrent_in": 0}),
    "mlagents/Sorter.onnx": (6, 644, {"Swish", "Identity"}, {}),
    "magika/standard_v3_3.onnx": (2, 576, {"Gelu"}, {}),
    "magika/standard_v2_1.onnx": (2, 576, {"Gelu"}, {}),
    "silero-vad/silero_vad_16k_op15.onnx": (5, 512, {"Relu", "LSTM"}, {"state": 0, "sr": 16000}),
    "dtln/model_1.onnx": (3, 513, {"LSTM", "Sigmoid"}, {}),
    "dtln/model_2.onnx": (11, 1536, {"Sigmoid", "Tanh"}, {}),
    "tiny-opt/model.onnx": (6, 648, {"Relu", "Identity"}, {}),
}


@pytest.mark.parametrize("path", LEAST)
def test_sites_of_known_architectures_are_found(path: str, shared: Path) -> None:
    least_sites, least_neurons, activations, constants = LEAST[path]
    found = sites(shared / "models" / path, **constants)
    assert len(found) >= least_sites
    assert sum(site.neurons for site in found) >= least_neurons
    assert activations <= {site.activation.name for site in found}
    assert len({site.name for site in found}) == len(found)


def test_the_layers_of_a_dense_network_are_a_chain(shared: Path) -> None:
    found = sites(shared / "models/dying-relu/relu/epoch12.onnx")
    assert [(s.role, s.neurons, s.channel_axes, s.bottleneck) for s in found] == [
        ("dense", 256, (-1,), True)
    ] * 5
    assert [s.upstream for s in found[1:]] == [(s.name,) for s in found[:-1]]


def test_a_small_transformer_has_its_heads_and_mlps(shared: Path) -> None:
    found = sites(shared / "models/tiny-opt/model.onnx")
    assert [(s.role, s.neurons, s.unit_size) for s in found] == [
        ("head", 4, 16),
        ("attn_out", 64, 1),
        ("mlp_post", 256, 1),
    ] * 2


def test_layouts_of_tensorflow_exports(shared: Path) -> None:
    dense, conv = sites(shared / "models/magika/standard_v2_1.onnx")
    assert (dense.channel_axes, conv.channel_axes) == ((-1,), (-1,))
    dense, conv = sites(shared / "models/magika/standard_v3_3.onnx")
    assert (dense.channel_axes, conv.channel_axes) == ((-1,), (-2,))
    assert dense.activation.parameters == (("approximate", 1.0),)


def test_no_odd_file_brings_the_search_down(shared: Path) -> None:
    searched = 0
    for path in sorted((shared / "models").glob("odd-*/**/*.onnx")):
        try:
            model = prepare(open_onnx(path)).model
        except ModelError:
            continue
        find_sites(model, frozenset({"linear", "mlp_pre"}))
        searched += 1
    assert searched > 10
