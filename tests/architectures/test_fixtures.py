"""Every family against committed values of transformers, without torch; and mistakes that these must not pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from transformer_cases import FIXTURE_CASES, FIXTURES, error, run
from transformer_variants import first_error, opened, reference, variant

from nla.architectures import attention
from nla.checkpoint.built import BuiltCheckpoint
from nla.graph.find import find_sites
from nla.graph.prepare import prepare
from nla.site import Site

TOLERANCE = 1e-5
GATED = ("llama", "llama3", "mistral", "qwen2", "qwen3", "gemma")


def part(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith(f"{kind}/")}


def sites(checkpoint: BuiltCheckpoint) -> tuple[Site, ...]:
    found, not_understood = find_sites(prepare(checkpoint).model)
    assert not not_understood
    return found


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_outputs_neurons_and_heads_are_those_of_transformers(name: str):
    arrays, checkpoint = reference(name), opened(FIXTURES / name)
    found = sites(checkpoint)
    expected = part(arrays, "output")
    for kind, role in (("neurons", "mlp_post"), ("heads", "head")):
        names = [site.name for site in found if site.role == role]
        expected |= dict(zip(names, part(arrays, kind).values(), strict=True))
    given = part(arrays, "input")
    got = run(checkpoint, list(expected), given)
    errors = {
        tensor: error(array, expected[tensor], given.get("attention_mask"))
        for tensor, array in zip(expected, got, strict=True)
    }
    assert len(errors) > 4
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_a_block_has_an_mlp_a_row_of_heads_and_an_attention_output_and_they_name_stored_tensors(name: str):
    checkpoint = opened(FIXTURES / name)
    stored = checkpoint.source.tensors
    by_role: dict[str, list[Site]] = {}
    for site in sites(checkpoint):
        by_role.setdefault(site.role, []).append(site)
        for end in (*site.producers, *site.consumers):
            assert end.shape == stored[end.weight].shape
    assert {role: len(found) for role, found in by_role.items() if role != "dense"} == {
        "mlp_post": 2,
        "head": 2,
        "attn_out": 2,
    }
    for site in by_role["mlp_post"]:
        assert site.neurons == 24
        assert (site.gate is not None, site.up is not None) == (name in GATED,) * 2
        (down,) = site.consumers
        weight = checkpoint.source.array(down.weight).astype(np.float64)
        assert site.out_norm is not None
        np.testing.assert_allclose(site.out_norm, np.linalg.norm(weight, axis=1 - down.weight_axis))
        assert all(producer.shape is not None for producer in site.producers)
        assert site.name.endswith(".mlp.act")
    assert all(site.neurons == 4 for site in by_role["head"])


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_a_graph_is_sound_onnx_of_declared_shapes_and_standard_operators(name: str):
    proto = opened(FIXTURES / name).proto
    assert {node.domain for node in proto.graph.node} == {""}
    assert all(onnx.defs.has(node.op_type) for node in proto.graph.node)
    assert len({node.name for node in proto.graph.node}) == len(proto.graph.node)
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    arrays = reference(name)
    for output in inferred.graph.output:
        shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
        actual = arrays.get(f"output/{output.name}")
        assert actual is None or all(a in (0, b) for a, b in zip(shape, actual.shape, strict=True))
    assert {f"output/{output.name}" for output in inferred.graph.output} & arrays.keys()


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_pre_activations_are_sites_on_request(name: str):
    found, _ = find_sites(prepare(opened(FIXTURES / name)).model, frozenset({"mlp_pre"}))
    before = [site for site in found if site.role == "mlp_pre"]
    assert [site.neurons for site in before] == [24, 24]
    assert all(site.coupled[0].endswith("mlp.act") for site in before)


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_between_two_cuts_nothing_else_is_carried(name: str):
    checkpoint = opened(FIXTURES / name)
    graph = checkpoint.proto.graph
    assert len(checkpoint.cuts) == 3
    makers = {output: node for node in graph.node for output in node.output}
    shared = {value.name for value in (*graph.input, *graph.initializer)}

    def behind(value: str, stop: str) -> set[str]:
        """Everything that computes the value, from the cut on."""
        pending, found = [value], set()
        while pending:
            current = pending.pop()
            if current and current not in found and current != stop and current not in shared:
                found.add(current)
                pending.extend(makers[current].input)
        return found

    for before, after in zip(checkpoint.cuts, checkpoint.cuts[1:], strict=False):
        stage = behind(after, before)
        assert not stage & set(checkpoint.cuts[: checkpoint.cuts.index(before) + 1])


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu for its tanh form": ("gpt2", {"activation_function": "gelu"}),
    "the tanh form for gelu": ("bert", {"hidden_act": "gelu_new"}),
    "silu for gelu": ("vit", {"hidden_act": "silu"}),
    "gelu for relu": ("opt", {"activation_function": "gelu"}),
    "gelu for silu in a gate": ("llama", {"hidden_act": "gelu"}),
    "silu for gelu in a gate": ("gemma", {"hidden_act": "silu"}),
    "epsilon of a LayerNorm": ("gpt2", {"layer_norm_epsilon": 1e-4}),
    "epsilon of an encoder": ("bert", {"layer_norm_eps": 1e-5}),
    "epsilon of an RMSNorm": ("llama", {"rms_norm_eps": 1e-5}),
    "epsilon of norms on heads": ("qwen3", {"rms_norm_eps": 1e-5}),
    "epsilon of a vision transformer": ("vit", {"layer_norm_eps": 1e-4}),
    "base of rotary positions": (
        "llama",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 9000.0}},
    ),
    "scaling of rotary positions": (
        "llama3",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    ),
    "share of rotary channels": (
        "gpt_neox",
        {"rope_parameters": {"partial_rotary_factor": 1.0, "rope_theta": 1e4}},
    ),
    "share of rotary channels of phi": ("phi", {"rope_parameters": {"partial_rotary_factor": 1.0}}),
    "a wider window": ("mistral", {"sliding_window": 5}),
    "no window": ("qwen2", {"use_sliding_window": False, "layer_types": ["full_attention"] * 2}),
    "a window in the wrong block": ("qwen2", {"layer_types": ["sliding_attention", "full_attention"]}),
    "attention and MLP in turn": ("gpt_neox", {"use_parallel_residual": False}),
    "scores without their scale": ("gpt2", {"scale_attn_weights": False}),
    "another padding token": ("roberta", {"pad_token_id": 0}),
    "fewer heads": ("distilbert", {"n_heads": 2}),
    "more heads": ("gpt_neox", {"num_attention_heads": 8, "rope_parameters": {"partial_rotary_factor": 1.0}}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_configuration_shows(mistake: str, tmp_path: Path):
    name, values = MISTAKES[mistake]
    folder = variant(name, tmp_path, config=lambda config: {**config, **values})
    assert first_error(name, opened(folder)) > TOLERANCE


def _uncausal(a: Any) -> Any:
    return replace(a, causal=False)


def _unmasked(a: Any) -> Any:
    return replace(a, masked=False)


ENCODERS = ("bert", "roberta", "distilbert")
MASKS = [(name, _unmasked) for name in FIXTURE_CASES if name != "vit"]
MASKS += [(name, _uncausal) for name, _ in MASKS if name not in ENCODERS]


@pytest.mark.parametrize(("name", "wrong"), MASKS)
def test_a_wrong_mask_shows(name: str, wrong: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch):
    original = attention._mask
    monkeypatch.setattr(attention, "_mask", lambda g, a: original(g, wrong(a)))
    assert first_error(name, opened(FIXTURES / name)) > TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "phi", "qwen3"])
def test_positions_left_out_show(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "_rotate", lambda g, x, rope, size: x)
    assert first_error(name, opened(FIXTURES / name)) > TOLERANCE


@pytest.mark.parametrize("name", FIXTURE_CASES)
def test_heads_that_read_the_same_keys_and_values_leave_together(name: str):
    shared = 2 if name in GATED and name != "qwen3" else 1
    heads = [site for site in sites(opened(FIXTURES / name)) if site.role == "head"]
    assert len(heads) == 2
    for site in heads:
        if name == "qwen3":
            assert site.kept is not None  # queries and keys are normalised by the channels of a head
        else:
            assert site.groups is not None
            assert (np.diff(np.unique(site.groups, return_counts=True)[1], prepend=shared) == 0).all()
            assert site.kept is None
