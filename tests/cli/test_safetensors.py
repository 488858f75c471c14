"""Checkpoints without a graph, on the command line: found, inspected, edited, exported; and refused in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import save_file

import nla as api
from nla.checkpoint.digest import file_digest
from nla.replay import exporting

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/architectures/fixtures"
MODEL = ROOT / "sample_models/dying_relu/model.onnx"
FAMILIES = ("opt", "bert", "llama", "vit")


IN_CHILD = ("neurons", "plan")


@pytest.fixture
def quick(nla: Callable[..., Any]) -> Callable[..., Any]:
    """`nla` without a child process where a command can do without: its start is most of the time of a test."""

    def call(command: str, *arguments: object) -> Any:
        return nla(command, *arguments, *(() if command in IN_CHILD else ("--in-process",)))

    return call


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"schemas/{name}-1.schema.json").read_text())
    return found


def reference(family: str, kind: str) -> dict[str, np.ndarray]:
    """Inputs, outputs, or the neurons of each block, that the fixture's own library computed."""
    with np.load(FIXTURES / family / "reference.npz") as values:
        return {name.removeprefix(f"{kind}/"): values[name] for name in values if name.startswith(f"{kind}/")}


def saved(folder: Path, arrays: dict[str, np.ndarray], name: str = "data.npz") -> Path:
    path = folder / name
    np.savez(path, **arrays)
    return path


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """A small checkpoint in a folder of its own."""
    folder = tmp_path / "opt"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(FIXTURES / "opt" / name, folder)
    return folder


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """Tensors of a network 4 - 6 - 3 whose first two hidden units are dead; no config."""
    r = np.random.default_rng(0)
    tensors = {
        "fc1.weight": r.standard_normal((6, 4)).astype(np.float32),
        "fc1.bias": np.array([-99, -99, 1, 1, 1, 1], np.float32),
        "out.weight": r.standard_normal((3, 6)).astype(np.float32),
        "out.bias": np.zeros(3, np.float32),
    }
    path = tmp_path / "mlp.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture
def x(tmp_path: Path) -> Path:
    """Data for it."""
    return saved(
        tmp_path, {"x": np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)}, "x.npz"
    )


def hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = file_digest(file, lambda count: None)
    return found


# --- looking


def test_sites_names_the_format_the_architecture_the_type_and_the_tensors(
    quick: Callable[..., Any], opt: Path
) -> None:
    whole = quick("sites", opt)
    assert whole.code == 0, whole.err
    heading = " ".join(whole.out.partition("\ninput")[0].split())
    assert "safetensors · opt · float32 · " in heading
    assert " tensors in 1 file · " in heading
    assert (
        quick("sites", opt / "model.safetensors").out.partition("input")[2] == whole.out.partition("input")[2]
    )


def test_the_document_of_sites_says_what_was_built(quick: Callable[..., Any], opt: Path) -> None:
    document = json.loads(quick("sites", opt, "--json", "-").out)
    jsonschema.validate(document, schema("sites"))
    about = document["checkpoint"]
    assert (about["format"], about["architecture"], about["dtype"], about["shards"]) == (
        "safetensors",
        "opt",
        "float32",
        1,
    )
    assert [site["role"] for site in document["sites"]] == ["head", "attn_out", "mlp_post"] * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_inspecting_a_folder_gives_the_neurons_of_its_own_library(
    quick: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    data, run = saved(tmp_path, reference(family, "input")), tmp_path / "run.h5"
    done = quick("inspect", FIXTURES / family, "--data", data, "-o", run, "--json", tmp_path / "run.json")
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "run.json").read_text())
    jsonschema.validate(document, schema("inspection"))
    assert f"safetensors · {family} · float32" in " ".join(done.out.split())
    rows = list(csv.DictReader(io.StringIO(quick("neurons", run, "--format", "csv").out)))
    mask = reference(family, "input").get("attention_mask")
    sites = [site["name"] for site in document["sites"] if site["role"] == "mlp_post"]
    blocks = reference(family, "neurons")
    assert len(sites) == len(blocks)
    for name, values in zip(sites, (blocks[str(k)] for k in range(len(blocks))), strict=True):
        kept = values[mask.astype(bool)] if mask is not None else values.reshape(-1, values.shape[-1])
        mine = [row for row in rows if row["site"] == name]
        assert {int(row["positions"]) for row in mine} == {len(kept)}
        for column, wanted in (("max", kept.max(0)), ("mean_abs", np.abs(kept).mean(0))):
            got = np.array([float(row[column]) for row in mine])
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_the_first_token_is_left_out_on_request(quick: Callable[..., Any], tmp_path: Path, opt: Path) -> None:
    config = json.loads((opt / "config.json").read_text())
    (opt / "config.json").write_text(json.dumps({**config, "bos_token_id": 2}))
    given = reference("opt", "input")
    given["input_ids"][:, 0] = [2, 3, 2]
    data = saved(tmp_path, given)
    positions = []
    for options in ((), ("--exclude-bos",)):
        document = tmp_path / "run.json"
        assert quick("inspect", opt, "--data", data, *options, "--json", document, "-q").code == 0
        positions.append(json.loads(document.read_text())["sites"][0]["positions"])
    attended = given["attention_mask"]
    assert positions == [attended.sum(), attended.sum() - attended[[0, 2], 0].sum()]


def test_images_are_prepared_as_the_folder_says(quick: Callable[..., Any], tmp_path: Path) -> None:
    folder, pictures, document = tmp_path / "vit", tmp_path / "pictures", tmp_path / "run.json"
    shutil.copytree(FIXTURES / "vit", folder)
    size = json.loads((folder / "config.json").read_text())["image_size"]
    prepared = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "size": size}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**prepared, **half}))
    pictures.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    for k, picture in enumerate(pixels):
        Image.fromarray(picture).save(pictures / f"{k}.png")
    done = quick("inspect", folder, "--data", pictures, "--json", document)
    assert done.code == 0, done.err
    assert "preprocessor_config.json says" in " ".join(done.out.split())
    arrays = saved(tmp_path, {"pixel_values": (pixels.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)})
    same = tmp_path / "same.json"
    assert quick("inspect", folder, "--data", arrays, "--json", same, "-q").code == 0
    first, second = (json.loads(path.read_text())["sites"] for path in (document, same))
    for one, two in zip(first, second, strict=True):
        assert one["effective_rank"] == pytest.approx(two["effective_rank"], rel=1e-3)
        assert one["counts"] == two["counts"]


# --- the whole way


def test_from_inspection_to_a_verified_edit(
    nla: Callable[..., Any], tmp_path: Path, mlp: Path, x: Path
) -> None:
    run, manifest, cut = tmp_path / "run.h5", tmp_path / "m.json", tmp_path / "cut.onnx"
    said = ("--layers", "fc1,out", "--activation", "relu")
    assert nla("inspect", mlp, "--data", x, *said, "-o", run, "-q").code == 0
    assert nla("plan", run, "--policy", "prune", "-o", manifest, "-q").code == 0
    document = json.loads(manifest.read_text())
    jsonschema.validate(document, schema("manifest"))
    assert (document["checkpoint"]["layers"], document["checkpoint"]["activation"]) == (
        ["fc1", "out"],
        "relu",
    )
    done = nla("apply", manifest, mlp, "-o", cut)  # the manifest says what the layers are
    assert done.code == 0, done.err
    verified = nla("verify", mlp, cut, "--data", x, *said, "--manifest", manifest)
    assert verified.code == 0, verified.err
    assert "verdict  holds" in verified.out
    assert "mlp.safetensors safetensors · layers · float32 · 4 tensors in 1 file" in " ".join(
        verified.out.split()
    )
    assert {tuple(tensor.dims) for tensor in onnx.load(cut).graph.initializer} == {(4, 4), (4,), (3, 4), (3,)}


def test_prune_and_swap_know_the_layers_in_every_step(
    quick: Callable[..., Any], tmp_path: Path, mlp: Path, x: Path
) -> None:
    said = ("--data", x, "--activation", "relu")
    done = quick("prune", mlp, *said, "-o", tmp_path / "pruned.onnx")
    assert done.code == 0, done.err
    assert "remove 2 units" in done.out
    assert quick("swap", mlp, *said, "--candidates", "gelu").code == 0


def test_the_inferred_order_of_layers_is_printed_and_recorded(
    quick: Callable[..., Any], tmp_path: Path, mlp: Path, x: Path
) -> None:
    document = tmp_path / "run.json"
    done = quick("inspect", mlp, "--data", x, "--activation", "relu", "--json", document)
    assert done.code == 0, done.err
    assert "fc1 4 to 6 -> relu -> out 6 to 3" in done.out
    notes = json.loads(document.read_text())["notes"]
    assert sum("fc1 4 to 6 -> relu -> out 6 to 3" in note for note in notes) == 1


def test_text_for_an_edit_goes_through_the_tokenizer_of_the_original(
    quick: Callable[..., Any], tmp_path: Path, opt: Path
) -> None:
    vocabulary = {word: number for number, word in enumerate(["</s>", "<pad>", "a", "b", "c"])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "</s>"},
    }
    (opt / "tokenizer.json").write_text(json.dumps(tokenizer))
    text, exported = tmp_path / "lines.txt", tmp_path / "model.onnx"
    text.write_text("a b c\nb\nc a\n")
    assert quick("export", opt, "-o", exported, "-q").code == 0
    done = quick("verify", opt, exported, "--data", text)
    assert done.code == 0, done.err
    assert "logits: the same bits" in done.out
    assert quick("inspect", exported, "--data", text, "--processor", opt, "-q").code == 0
    alone = quick("inspect", exported, "--data", text)
    assert (alone.code, alone.err.count("\n")) == (2, 1)
    assert "--tokenizer" in alone.err


# --- export


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_runs_from_its_path_alone_and_gives_the_reference(
    quick: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    path = tmp_path / "model.onnx"
    done = quick("export", FIXTURES / family, "-o", path)
    assert done.code == 0, done.err
    assert "weights inside" in done.out
    onnx.checker.check_model(os.fspath(path), full_check=True)
    session = onnxruntime.InferenceSession(os.fspath(path))
    given, outputs = reference(family, "input"), reference(family, "output")
    name, wanted = next(iter(outputs.items()))
    assert session.get_outputs()[0].name == name
    (got,) = session.run([name], {each.name: given[each.name] for each in session.get_inputs()})
    kept = given["attention_mask"].astype(bool) if "attention_mask" in given else ...
    np.testing.assert_allclose(got[kept], wanted[kept], rtol=1e-5, atol=1e-5)


def test_the_same_checkpoint_gives_the_same_bytes_and_stays_as_it_is(
    quick: Callable[..., Any], tmp_path: Path, opt: Path
) -> None:
    before = hashes(opt)
    for name in ("one.onnx", "two.onnx"):
        assert quick("export", opt, "-o", tmp_path / name, "-q").code == 0
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert hashes(opt) == before


def test_large_weights_lie_in_one_file_beside_it(
    quick: Callable[..., Any], tmp_path: Path, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "INLINE_BYTES", 0)
    path = tmp_path / "model.onnx"
    done = quick("export", opt, "-o", path)
    assert done.code == 0, done.err
    assert f"{path}.data" in done.out
    assert {p.name for p in tmp_path.iterdir()} == {"opt", "model.onnx", "model.onnx.data"}
    proto = onnx.load(path, load_external_data=False)
    large = [tensor for tensor in proto.graph.initializer if tensor.name.startswith("model.")]
    assert {entry.value for t in large for entry in t.external_data if entry.key == "location"} == {
        "model.onnx.data"
    }
    onnxruntime.InferenceSession(os.fspath(path))


def test_weights_may_stay_in_the_safetensors_file_where_the_graph_lies_beside_it(
    quick: Callable[..., Any], tmp_path: Path, opt: Path
) -> None:
    before = hashes(opt)
    assert quick("export", opt, "-o", opt / "model.onnx", "--reference").code == 0
    assert (opt / "model.onnx").stat().st_size < 100_000
    onnxruntime.InferenceSession(os.fspath(opt / "model.onnx"))
    after = hashes(opt)
    assert after.pop("model.onnx")
    assert after == before
    outside = quick("export", opt, "-o", tmp_path / "model.onnx", "--reference")
    assert (outside.code, outside.err.count("\n")) == (2, 1)
    assert "without --reference" in outside.err
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_weights_that_are_links_are_copied_but_not_referred_to(
    quick: Callable[..., Any], tmp_path: Path, opt: Path, link: Callable[..., None]
) -> None:
    store = tmp_path / "store"
    (opt / "model.safetensors").rename(store)
    link(store, opt / "model.safetensors")
    assert quick("export", opt, "-o", tmp_path / "model.onnx").code == 0
    refused = quick("export", opt, "-o", opt / "model.onnx", "--reference")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "a link" in refused.err
    assert not (opt / "model.onnx").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_in_half_precision_are_kept_as_they_are_stored(
    quick: Callable[..., Any], tmp_path: Path, opt: Path, dtype: str
) -> None:
    from safetensors.numpy import load_file

    half = {name: value.astype(np.float16) for name, value in load_file(opt / "model.safetensors").items()}
    if dtype == "bfloat16":
        import ml_dtypes

        half = {name: value.astype(ml_dtypes.bfloat16) for name, value in half.items()}
    save_file(half, opt / "model.safetensors")
    assert f" {dtype} " in " ".join(quick("sites", opt).out.split())
    path = tmp_path / "model.onnx"
    done = quick("export", opt, "-o", path)
    assert done.code == 0, done.err
    kinds = {t.name: t.data_type for t in onnx.load(path).graph.initializer}
    wanted = getattr(onnx.TensorProto, dtype.upper())
    assert {kinds[name] for name in half if name in kinds} == {wanted}
    assert sum(name in kinds for name in half) > 20
    given = reference("opt", "input")
    got = onnxruntime.InferenceSession(os.fspath(path)).run(["logits"], given)[0]
    np.testing.assert_allclose(got, reference("opt", "output")["logits"], rtol=0.2, atol=0.2)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_no_output_is_written_over_the_checkpoint(
    nla: Callable[..., Any], tmp_path: Path, opt: Path, name: str
) -> None:
    before = hashes(opt)
    data = saved(tmp_path, reference("opt", "input"))
    for command in (
        ("export", opt, "-o", opt / name),
        ("sites", opt, "--json", opt / name),
        ("inspect", opt, "--data", data, "-o", opt / name),
        ("inspect", opt, "--data", data, "--json", opt / name),
    ):
        done = nla(*command)
        assert (done.code, done.err.count("\n")) == (2, 1), done
        assert "it is the file that was read" in done.err
    assert hashes(opt) == before


def test_in_python_the_verb_bears_the_same_name_and_says_what_it_wrote(tmp_path: Path, opt: Path) -> None:
    made = api.export(opt, tmp_path / "model.onnx", in_process=True)
    assert isinstance(made, api.Exported)
    assert (made.output, made.weights, made.inputs, made.outputs[0]) == (
        tmp_path / "model.onnx",
        "inside",
        ("input_ids", "attention_mask"),
        "logits",
    )
    assert made.bytes + made.weight_bytes == made.output.stat().st_size


# --- refused in one line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", MODEL, "-o", "out.onnx"), "not a safetensors checkpoint"),
        (("export", "nowhere", "-o", "out.onnx"), "no such file"),
        (("sites", MODEL, "--layers", "a,b"), "is for safetensors checkpoints"),
        (("sites", "{mlp}"), "--layers and --activation"),
        (("sites", "{mlp}", "--layers", "fc1,out"), "--activation"),
        (("sites", "{mlp}", "--layers", "fc1,fc3", "--activation", "relu"), "fc3"),
        (
            ("sites", "{mlp}", "--layers", "fc1,out", "--graph", "g.onnx"),
            "give --graph or --layers, not both",
        ),
        (("sites", "{mlp}", "--graph", "nowhere.onnx"), "nowhere.onnx"),
        (("verify", MODEL, MODEL, "--synthetic", 2, "--layers", "a"), "is for safetensors checkpoints"),
        (("inspect", "{opt}", "--data", "{bad}"), "the token id 1000, and the model's vocabulary has 40"),
        (("inspect", "{opt}", "--data", "{lines}"), "holds no tokenizer.json"),
        (
            ("inspect", "{mlp}", "--activation", "relu", "--data", "{x}", "--exclude-bos"),
            "no input of token ids",
        ),
        (("inspect", MODEL, "--data", "{x}", "--processor", "nowhere"), "no folder that holds"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    nla: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opt: Path,
    mlp: Path,
    x: Path,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("a b\n")
    bad = saved(tmp_path, {"input_ids": np.array([[5, 1000]])}, "bad.npz")
    places = {"opt": opt, "mlp": mlp, "x": x, "bad": bad, "lines": tmp_path / "lines.txt"}
    done = nla(*(str(each).format(**places) for each in arguments))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert message in done.err
