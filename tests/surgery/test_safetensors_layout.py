"""What the layout of a safetensors checkpoint allows: one MLP width for all blocks, and no other graph."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dead_checkpoints import Units, feeds, files, make, metadata_of, outputs, tensors_of

import nla
from nla.architectures.opening import open_checkpoint
from nla.manifest.document import Action, Manifest

BLOCKS = {0: Units((1, 5), (7,), ((9, 3),)), 1: Units((0, 2, 4), (6,), ((11, 10),))}
WIDTH = {"gpt2": "n_inner", "opt": "ffn_dim", "distilbert": "hidden_dim"}
OTHERS = ("llama3", "mistral", "qwen2", "qwen3", "gemma", "gpt_neox", "phi", "bert", "roberta")
OPT = "model.decoder.layers.{}.mlp.act"
LLAMA = "model.layers.{}.mlp.act"


def planned(source: Path, family: str, place: Path) -> Manifest:
    nla.inspect(source, feeds(family), output=place / "run.h5", in_process=True)
    return nla.plan(place / "run.h5", "prune", in_process=True)


def applied(source: Path, output: Path, *actions: Action, **more: Any) -> nla.SurgeryReport:
    manifest = Manifest({"digest": open_checkpoint(source).digest}, actions=actions)
    return nla.apply(manifest, source, output, in_process=True, **more)


def close(source: Path, output: Path, family: str, largest: float = 2e-6) -> bool:
    pairs = zip(outputs(source, feeds(family)), outputs(output, feeds(family)), strict=True)
    return all(np.abs(before - after).max() < largest for before, after in pairs)


def width_of(folder: Path, family: str) -> int:
    key = WIDTH.get(family.removesuffix("_post"), "intermediate_size")
    found: int = json.loads((folder / "config.json").read_text())[key]
    return found


@pytest.mark.parametrize(
    ("family", "width"),
    [
        *(("gpt2", 20), ("opt", 19), ("llama", 20), ("distilbert", 20), ("vit", 20)),
        pytest.param("opt_post", 15, marks=pytest.mark.slow),
        *(pytest.param(family, 20, marks=pytest.mark.slow) for family in OTHERS),
    ],
)
def test_every_block_of_a_family_loses_the_same_number_of_units(family: str, width: int, tmp_path: Path):
    source = make(tmp_path / "source", family, BLOCKS, beside=False)
    manifest = planned(source, family, tmp_path)
    done = nla.apply(manifest, source, tmp_path / "out", in_process=True)
    assert {each.after for each in done.widths} == {width}
    assert width_of(tmp_path / "out", family) == width
    assert close(source, tmp_path / "out", family)
    stored = tensors_of(tmp_path / "out")
    assert done.parameters_after == sum(values.size for values in stored.values())
    assert done.bytes_after == sum(
        (tmp_path / "out" / name).stat().st_size for name in ("config.json", "model.safetensors")
    )
    assert done.multiply_adds_before is not None
    assert done.multiply_adds_after is not None
    assert done.multiply_adds_after < done.multiply_adds_before


def test_units_beyond_the_block_with_the_fewest_stay_duplicates_first(tmp_path: Path):
    source = make(tmp_path / "source", "bert", {0: Units((1, 5)), 1: Units((0, 2, 4), (6,), ((11, 10),))})
    done = nla.apply(planned(source, "bert", tmp_path), source, tmp_path / "out", in_process=True)
    kept = {(a.kind, unit) for a in done.actions for entry in a.refused for unit in entry.units}
    assert kept == {("remove", 4), ("fold", 6), ("merge", 11)}
    (reason,) = {entry.reason for a in done.actions for entry in a.refused}
    assert "all blocks share one width, intermediate_size" in reason
    assert "can lose only 2" in reason
    assert "-o model.onnx" in reason
    assert width_of(tmp_path / "out", "bert") == 22
    assert metadata_of(tmp_path / "out/model.safetensors").keys() == {
        "format",
        "by",
        "nla.manifest",
        "nla.stayed",
    }


def test_an_onnx_file_takes_a_width_for_each_block(tmp_path: Path):
    source = make(tmp_path / "source", "bert", {0: Units(), 1: Units((0, 2, 4))})
    manifest = planned(source, "bert", tmp_path)
    assert any("at most 0 here; nla apply -o model.onnx" in note for note in manifest.notes)
    held = nla.apply(manifest, source, tmp_path / "out", in_process=True)
    assert held.done() == 0
    assert files(source) == files(tmp_path / "out")
    done = nla.apply(manifest, source, tmp_path / "out.onnx", in_process=True)
    assert [(each.before, each.after) for each in done.widths] == [(24, 21)]
    assert done.refused() == 0
    assert close(source, tmp_path / "out.onnx", "bert")


@pytest.mark.parametrize(("round_to", "width"), [(1, 20), (2, 20), (8, 24), (3, 21)])
def test_the_common_width_is_a_multiple_where_asked(round_to: int, width: int, tmp_path: Path):
    source = make(tmp_path / "source", "gpt2", BLOCKS)
    manifest = planned(source, "gpt2", tmp_path)
    nla.apply(manifest, source, tmp_path / "out", round_to=round_to, in_process=True)
    assert width_of(tmp_path / "out", "gpt2") == width
    assert close(source, tmp_path / "out", "gpt2")


def test_what_would_change_the_graph_is_declined_unit_by_unit(tmp_path: Path):
    source = make(tmp_path / "source", "llama", {0: Units((1, 5)), 1: Units((0, 2))})
    first, second = LLAMA.format(0), LLAMA.format(1)
    done = applied(
        source,
        tmp_path / "out",
        Action("folds", "fold", first, (1, 3), {"values": [0.0, 0.5]}),
        Action("cuts", "remove", second, (0, 2)),
        Action("head", "remove", "model.layers.0.attn.heads", (1,)),
        Action("reset", "reset", first, (8, 9), {"scheme": "he", "seed": 1, "means": [0.0, 0.25]}),
        Action("shift", "shift", second, (7,), {"delta": [0.5], "zero_outgoing": False, "target_rate": 0.01}),
        Action("strip", "strip", second, (8,), {"fraction": 0.5}),
    )
    by_id = {each.id: each for each in done.actions}
    assert {name: each.done for name, each in by_id.items()} == {
        "folds": (1,),
        "cuts": (0,),
        "head": (),
        "reset": (8,),
        "shift": (),
        "strip": (8,),
    }
    for name, words in (
        ("folds", "no bias that would take it"),
        ("head", "one number of heads for all blocks"),
        ("reset", "no place for what it adds"),
        ("shift", "no place for what it adds"),
    ):
        (entry,) = by_id[name].refused
        assert f"the safetensors layout of llama has {words}" in entry.reason
        assert entry.reason.endswith("write to an .onnx file instead")
    assert width_of(tmp_path / "out", "llama") == 23
    swap = applied(source, tmp_path / "swap", Action("swap", "swap", first, tuple(range(24)), {"to": "Gelu"}))
    assert "one activation for all blocks" in swap.actions[0].refused[0].reason
    assert files(tmp_path / "swap") == files(source)


@pytest.mark.parametrize("kind", ["mask", "strip", "reset", "shift", "flip"])
def test_actions_on_weights_touch_the_tensors_of_their_layer_and_nothing_else(kind: str, tmp_path: Path):
    source = make(tmp_path / "source", "opt", {0: Units((1, 3))})
    parameters: dict[str, dict[str, Any]] = {
        "strip": {"fraction": 0.5},
        "reset": {"scheme": "glorot", "seed": 0, "means": [0.0, 0.0]},
        "shift": {"delta": [0.5, 0.5], "zero_outgoing": True, "target_rate": 0.01},
    }
    units = tuple(range(24)) if kind == "flip" else (1, 3)
    action = Action("a", kind, OPT.format(0), units, parameters.get(kind, {}))
    done = applied(source, tmp_path / "out", action)
    assert done.done() == len(units)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.rsplit(".", 2)[1] for name in changed} <= {"fc1", "fc2"}
    assert all(".layers.0." in name for name in changed)
    same = {name: digest for name, digest in files(source).items() if name != "model.safetensors"}
    assert same.items() <= files(tmp_path / "out").items()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_halves_stay_halves_and_rounding_is_said(family: str, dtype: str, tmp_path: Path):
    source = make(tmp_path / "source", family, BLOCKS, dtype=dtype, shards=2)
    done = nla.apply(planned(source, family, tmp_path), source, tmp_path / "out", in_process=True)
    assert {str(values.dtype) for values in tensors_of(tmp_path / "out").values()} == {dtype}
    assert any(f"stored in {dtype}: what the edit computes is rounded" in note for note in done.notes)
    assert width_of(tmp_path / "out", family) == 20
    assert close(source, tmp_path / "out", family, 0.05)


def test_a_plain_network_of_declared_layers_takes_a_width_for_each(tmp_path: Path):
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(0)
    sizes = [4, 6, 5, 3]
    tensors = {}
    for at, (width, after) in enumerate(pairwise(sizes)):
        tensors[f"fc{at}.weight"] = rng.normal(size=(after, width)).astype(np.float32)
        tensors[f"fc{at}.bias"] = rng.normal(size=after).astype(np.float32)
    tensors["fc0.weight"][:2], tensors["fc0.bias"][:2] = 0, -1
    save_file(tensors, tmp_path / "plain.safetensors")
    given = {"layers": "fc0,fc1,fc2", "activation": "relu"}
    data = {"x": rng.normal(size=(8, 4)).astype(np.float32)}
    source = tmp_path / "plain.safetensors"
    nla.inspect(source, data, output=tmp_path / "run.h5", in_process=True, **given)
    manifest = nla.plan(tmp_path / "run.h5", "prune", in_process=True)
    for output in ("out.safetensors", "folder"):
        done = nla.apply(manifest, source, tmp_path / output, in_process=True, **given)
        assert next((each.before, each.after) for each in done.widths) == (6, 4)
        written = tmp_path / output if output != "folder" else tmp_path / "folder/plain.safetensors"
        assert load_file(written)["fc0.weight"].shape == (4, 4)
        for before, after in zip(
            outputs(source, data, **given), outputs(written, data, **given), strict=True
        ):
            assert np.allclose(before, after, atol=1e-6)


def test_a_graph_of_the_users_own_keeps_its_widths(tmp_path: Path):
    source = make(tmp_path / "source", "bert", {0: Units((1,)), 1: Units((2,))})
    nla.export(source, tmp_path / "graph.onnx")
    given = {"graph": tmp_path / "graph.onnx"}
    nla.inspect(source, feeds("bert"), output=tmp_path / "run.h5", in_process=True, **given)
    masked = nla.plan(tmp_path / "run.h5", "mask", in_process=True)
    done = nla.apply(masked, source, tmp_path / "masked", in_process=True, **given)
    assert done.done("mask") == 2
    cut = nla.plan(tmp_path / "run.h5", "remove", in_process=True)
    held = nla.apply(cut, source, tmp_path / "cut", in_process=True, **given)
    assert held.done() == 0
    assert all("write to an .onnx file instead" in r.reason for a in held.actions for r in a.refused)
