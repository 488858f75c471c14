"""Neurons behind the normalisation of a transformer: silent for every text, or not, by their bias."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file
from transformer_cases import FIXTURES

from nla.architectures.opening import open_checkpoint
from nla.certificates import domains
from nla.certificates.proving import prove
from nla.graph.assemble import assemble
from nla.graph.find import walked
from nla.graph.prepare import prepare
from nla.lowering.lengths import of_length, same_at_every_position
from nla.lowering.lower import lower
from nla.lowering.settling import settle

MARGIN = 1e-3
"""Of the bound: further than the room that is left for rounding."""


def _network(folder, length):
    prepared = prepare(open_checkpoint(folder))
    prepared = prepare(open_checkpoint(folder), None, of_length(prepared.inputs, length))
    settle(prepared.model)
    walk = walked(prepared.model)
    return lower(prepared.model.graph, walk, assemble(walk, frozenset()))


def _planted(place, block=1):
    """An OPT whose fc1 biases lie on either side of what the ball allows, in turn; and the bound of each neuron."""
    shutil.copytree(FIXTURES / "opt", place)
    tensors = dict(load_file(place / "model.safetensors"))
    name = f"model.decoder.layers.{block}"
    w = tensors[f"{name}.fc1.weight"].astype(np.float64)
    g, b = (tensors[f"{name}.final_layer_norm.{part}"].astype(np.float64) for part in ("weight", "bias"))
    v = w * g - (w * g).mean(axis=1, keepdims=True)
    bound = np.sqrt(w.shape[1]) * np.linalg.norm(v, axis=1) + w @ b
    inside = np.arange(len(w)) % 2 == 0
    tensors[f"{name}.fc1.bias"] = (-bound - np.where(inside, MARGIN, -MARGIN) * np.abs(bound)).astype(
        np.float32
    )
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return bound, inside, v


def test_neurons_on_either_side_of_the_bound_come_out_right(tmp_path):
    bound, inside, _ = _planted(tmp_path / "opt")
    network = _network(tmp_path / "opt", 1)
    target = network.targets[1]
    assert domains.needed(network, target) == ()
    found = prove(network, domains.completed(network, {}), {target.site: np.arange(target.neurons)})[
        target.site
    ]
    assert found.certified.tolist() == inside.tolist()
    bias = np.where(inside, -MARGIN, MARGIN) * np.abs(bound)
    assert found.upper == pytest.approx(bias, abs=1e-4 * np.abs(bound).max())
    assert same_at_every_position(network, _network(tmp_path / "opt", 3), target)


def test_no_text_wakes_a_certified_neuron_and_the_ball_is_reached(tmp_path):
    """Texts at random through the model itself; and the residual that turns the norm towards each neuron."""
    bound, inside, v = _planted(tmp_path / "opt")
    checkpoint = open_checkpoint(tmp_path / "opt")
    prepared = prepare(checkpoint)
    z = next(t.pre for t in _network(tmp_path / "opt", 1).targets if ".1." in t.site)
    proto = checkpoint.proto
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(z))
    options = onnxruntime.SessionOptions()
    external = checkpoint.map_external()
    sizes = [len(file) for file in external.values()]
    options.add_external_initializers_from_files_in_memory(list(external), list(external.values()), sizes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    assert {each.name for each in prepared.inputs} == {"input_ids", "attention_mask"}
    for length in (1, 2, 9):
        ids = rng.integers(0, 40, (64, length))
        (found,) = session.run([z], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        assert (found.reshape(-1, len(inside))[:, inside] <= 0).all()
    x = 1e4 * v
    u = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    tensors = load_file(tmp_path / "opt" / "model.safetensors")
    layer = "model.decoder.layers.1"
    y = u * tensors[f"{layer}.final_layer_norm.weight"] + tensors[f"{layer}.final_layer_norm.bias"]
    reached = (y * tensors[f"{layer}.fc1.weight"]).sum(axis=1)
    assert reached == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "gpt_neox", "opt_post", "phi"])
def test_feed_forward_layers_need_no_domain_and_hold_at_every_length(family):
    short, long = (_network(FIXTURES / family, length) for length in (1, 3))
    assert len(short.targets) == 2
    for target in short.targets:
        assert domains.needed(short, target) == ()
        assert same_at_every_position(short, long, target)
    assert {target.activation.name for target in short.targets} <= {"Relu", "Gelu"}


def test_an_image_has_one_size():
    short, long = (_network(FIXTURES / "vit", length) for length in (1, 3))
    assert not any(same_at_every_position(short, long, target) for target in short.targets)


def test_gates_and_heads_are_left_undecided():
    network = _network(FIXTURES / "llama", 1)
    assert not network.targets
    assert all("no activation of one z" in reason for reason in network.reasons.values())
