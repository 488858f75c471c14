"""Whole safetensors checkpoints that are spoilt: a config or tensors that lie, one fault each, and by chance."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

FIXTURES = Path(__file__).resolve().parents[1] / "architectures" / "fixtures"
FAMILIES = sorted(path.name for path in FIXTURES.iterdir() if (path / "config.json").is_file())
LAYER = "model.layers.1.mlp"
FIRST = "model.layers.0."
EMBEDDING = "model.embed_tokens.weight"

Builder = Callable[[Path], Path]
Tensors = dict[str, np.ndarray]


def honest(folder: Path, family: str = "llama") -> Path:
    """A small checkpoint in which nothing is wrong."""
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(FIXTURES / family / name, folder / name)
    return folder


def config(**values: Any) -> Builder:
    """The checkpoint with other values in its config; a key whose value is `...` is left out."""

    def build(folder: Path) -> Path:
        path = honest(folder) / "config.json"
        found = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))
        return folder

    return build


def tensors(change: Callable[[Tensors], object]) -> Builder:
    """The checkpoint with its tensors changed."""

    def build(folder: Path) -> Path:
        path = honest(folder) / "model.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path, {"format": "pt"})
        return folder

    return build


def rope(**values: Any) -> Builder:
    """The checkpoint with these rope parameters."""
    return config(rope_parameters=values)


def old_rope(**values: Any) -> Builder:
    """The same under the key of transformers 4."""
    return config(rope_parameters=..., rope_scaling=values)


def text(content: bytes) -> Builder:
    """The checkpoint with a config.json of these bytes."""

    def build(folder: Path) -> Path:
        (honest(folder) / "config.json").write_bytes(content)
        return folder

    return build


def shards(change: Callable[[dict[str, Any], Path], object]) -> Builder:
    """The checkpoint in two shards, with their index changed; the change may take files away."""

    def build(folder: Path) -> Path:
        whole = honest(folder) / "model.safetensors"
        found = load_file(whole)
        names = sorted(found)
        whole.unlink()
        parts = {"a.safetensors": names[:7], "b.safetensors": names[7:]}
        for file, held in parts.items():
            save_file({name: found[name] for name in held}, folder / file)
        index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
        change(index, folder)
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return build


def pipe(name: str) -> Builder:
    """The checkpoint with a named pipe in the place of a file."""

    def build(folder: Path) -> Path:
        (honest(folder) / name).unlink()
        os.mkfifo(folder / name)
        return folder

    return build


def only(*names: str) -> Builder:
    """A folder with nothing but these files, all of them empty."""

    def build(folder: Path) -> Path:
        for name in names:
            (folder / name).write_bytes(b"")
        return folder

    return build


def lone(folder: Path) -> Path:
    """A .safetensors file without a config.json beside it."""
    (honest(folder) / "config.json").unlink()
    return folder / "model.safetensors"


def _renamed(found: Tensors, old: str, new: str) -> None:
    found[new] = found.pop(old)


REFUSED: dict[str, tuple[Builder, str]] = {
    "unknown model type": (config(model_type="hyena9000"), "model_type 'hyena9000' .* it knows .*bert"),
    "model type an escape": (config(model_type="\x1b[31m"), r"model_type '\\x1b\[31m'"),
    "no model type": (config(model_type=..., architectures=...), "names no model_type"),
    "model type a list": (config(model_type=["llama"]), "model_type"),
    "config of another family": (
        config(model_type="gpt2"),
        "lacks|used by nothing|disagree|gives no|no tensor of",
    ),
    "no config": (lone, "no config.json beside it"),
    "config a list": (text(b"[]"), "no object but a list"),
    "config cut short": (text(b'{"model_type": "llama"'), "not valid JSON"),
    "config with a key twice": (text(b'{"model_type": "opt", "model_type": "llama"}'), "comes twice"),
    "config empty": (text(b"{}"), "names no model_type"),
    "config a pipe": (pipe("config.json"), "not a regular file"),
    "weights a pipe": (pipe("model.safetensors"), "not a regular file"),
    "only a pickle": (only("config.json", "pytorch_model.bin"), "convert"),
    "nothing": (only(), "no model.safetensors"),
    "GPTQ": (config(quantization_config={"quant_method": "gptq"}), "quantised .*gptq"),
    "AWQ": (config(quantization_config={"quant_method": "awq"}), "quantised .*awq"),
    "fp8": (config(quantization_config={"quant_method": "fp8"}), "quantised .*fp8"),
    "activation unknown": (config(hidden_act="swish9"), "swish9"),
    "activation a number": (config(hidden_act=7), "hidden_act"),
    "rope type unknown": (rope(rope_type="longrope", rope_theta=1e4), "rope type 'longrope' .* llama3"),
    "rope type unknown, old key": (old_rope(type="su", factor=2.0), "rope type 'su'"),
    "rope type a list": (rope(rope_type=[]), "rope_type"),
    "rope without its factor": (rope(rope_type="linear"), "factor"),
    "rope factor of zero": (rope(rope_type="linear", factor=0), "factor is 0: expected a positive number"),
    "rope theta negative": (rope(rope_theta=-1), "rope_theta"),
    "rope theta true": (rope(rope_theta=True), "rope_theta"),
    "rope a number": (config(rope_parameters=3), "rope_parameters"),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers is 0"),
    "a layer more": (config(num_hidden_layers=3), "lacks .*model.layers.2|no tensor of 'model.layers.2'"),
    "a layer less": (config(num_hidden_layers=1), "model.layers.1.*used by nothing"),
    "ten million layers": (config(num_hidden_layers=10_000_000), "num_hidden_layers"),
    "4 000 layers": (config(num_hidden_layers=4_000), "lacks .* more|no tensor of 'model.layers.2'"),
    "layers as text": (config(num_hidden_layers="2"), "num_hidden_layers is '2'"),
    "layers 2.0": (config(num_hidden_layers=2.0), "num_hidden_layers is 2.0"),
    "layers true": (config(num_hidden_layers=True), "num_hidden_layers is True"),
    "hidden size negative": (config(hidden_size=-16), "hidden_size is -16"),
    "hidden size of 10^30": (config(hidden_size=10**30), "hidden_size"),
    "hidden size of another model": (config(hidden_size=32), "disagree|lacks"),
    "heads that do not divide": (config(num_attention_heads=3, head_dim=...), "3"),
    "groups that do not divide": (config(num_key_value_heads=3), "no multiple of num_key_value_heads 3"),
    "head size of another model": (config(head_dim=8), "disagree"),
    "vocabulary of another model": (config(vocab_size=41), "embed_tokens.weight' is .40, 16. where .41, 16."),
    "inner size of another model": (config(intermediate_size=25), "disagree"),
    "epsilon negative": (config(rms_norm_eps=-1e-6), "rms_norm_eps is -1e-06: expected a positive number"),
    "epsilon of 1e300": (config(rms_norm_eps=1e300), "rms_norm_eps"),
    "epsilon NaN": (config(rms_norm_eps=float("nan")), "NaN is no JSON number"),
    "tied a word": (
        config(tie_word_embeddings="yes"),
        "tie_word_embeddings is 'yes': expected true or false",
    ),
    "a tensor nobody uses": (
        tensors(lambda t: t.update({"model.surprise": np.zeros(3, np.float32)})),
        "tensor 'model.surprise' .* used by nothing",
    ),
    "a bias where none is expected": (
        tensors(lambda t: t.update({f"{LAYER}.up_proj.bias": np.zeros(24, np.float32)})),
        f"tensor '{LAYER}.up_proj.bias' .* used by nothing",
    ),
    "a missing tensor": (
        tensors(lambda t: t.pop(f"{LAYER}.up_proj.weight")),
        f"lacks tensor '{LAYER}.up_proj",
    ),
    "a missing embedding": (tensors(lambda t: t.pop(EMBEDDING)), "embed_tokens"),
    "all tensors but one missing": (
        tensors(lambda t: [t.pop(name) for name in list(t) if name != EMBEDDING]),
        "lacks .* and .* more|no tensor of 'model.layers.0'",
    ),
    "a renamed tensor": (tensors(lambda t: _renamed(t, f"{LAYER}.up_proj.weight", "\x1b]0;x\x07")), "lacks"),
    "a transposed weight": (
        tensors(lambda t: t.update({f"{LAYER}.up_proj.weight": t[f"{LAYER}.up_proj.weight"].T.copy()})),
        "up_proj.weight' is .16, 24. where .24, 16. was expected",
    ),
    "a flat weight": (
        tensors(lambda t: t.update({f"{LAYER}.up_proj.weight": t[f"{LAYER}.up_proj.weight"].reshape(-1)})),
        "up_proj.weight' is .384. where .24, 16. was expected",
    ),
    "a weight of integers": (
        tensors(lambda t: t.update({f"{LAYER}.up_proj.weight": np.ones((24, 16), np.int8)})),
        "up_proj.weight' is of type I8 where floating numbers were expected",
    ),
    "a norm of booleans": (
        tensors(lambda t: t.update({"model.norm.weight": np.ones(16, bool)})),
        "model.norm.weight' is of type BOOL",
    ),
    "an empty embedding": (
        tensors(lambda t: t.update({EMBEDDING: np.zeros((0, 16), np.float32)})),
        "embed_tokens.weight' is .0, 16.",
    ),
    "a shard out of the folder": (
        shards(lambda index, _: index["weight_map"].update({EMBEDDING: "../a.safetensors"})),
        "'../a.safetensors' is no plain name",
    ),
    "a missing shard": (
        shards(lambda _, folder: (folder / "b.safetensors").unlink()),
        "missing: b.safetensors",
    ),
    "an index without a map": (shards(lambda index, _: index.clear()), "it has no weight_map"),
    "a tensor in another shard": (
        shards(lambda index, _: index["weight_map"].update({EMBEDDING: "b.safetensors"})),
        "embed_tokens.weight' is in a.safetensors, and the index says b.safetensors",
    ),
    "an index that lists nothing there": (
        shards(lambda index, _: index["weight_map"].update(ghost="b.safetensors")),
        "tensor 'ghost' is not in b.safetensors",
    ),
}
"""By fault: the builder, which gives back what is opened, and a pattern of what is said."""


def _linked(folder: Path) -> Path:
    """A snapshot of a hub cache."""
    (folder / "snapshots").mkdir()
    (folder / "blobs").mkdir()
    honest(folder / "blobs")
    for name in ("config.json", "model.safetensors"):
        (folder / "snapshots" / name).symlink_to(f"../blobs/{name}")
    return folder / "snapshots"


def _hard_linked(folder: Path) -> Path:
    (folder / "installed").mkdir()
    honest(folder)
    for name in ("config.json", "model.safetensors"):
        os.link(folder / name, folder / "installed" / name)
    return folder / "installed"


ODD: dict[str, Builder] = {
    "nothing wrong": honest,
    "a hub cache": _linked,
    "hard links": _hard_linked,
    "two shards": shards(lambda index, folder: None),
    "an index that says no size": shards(lambda index, _: index.update(metadata=None)),
    "the file itself": lambda folder: honest(folder) / "model.safetensors",
    "keys that nobody knows": config(**{"\x1b[31m": "\x07", "_name_or_path": "x", "auto_map": {"a": "b"}}),
    "double precision": tensors(
        lambda t: t.update({f"{LAYER}.up_proj.weight": t[f"{LAYER}.up_proj.weight"].astype("f8")})
    ),
    "half precision": tensors(lambda t: t.update({k: v.astype(np.float16) for k, v in t.items()})),
    "weights that are NaN": tensors(lambda t: t.update({EMBEDDING: np.full_like(t[EMBEDDING], np.nan)})),
    "no default given": config(rms_norm_eps=..., tie_word_embeddings=..., hidden_act=...),
}
"""What is odd and legitimate: it is read."""

_VALUES: tuple[Any, ...] = (
    *(
        0,
        1,
        -1,
        2,
        3,
        5,
        8,
        17,
        40,
        10**6,
        1 << 24,
        2**31,
        2**63,
        10**30,
        0.0,
        0.5,
        1.5,
        -2.0,
        1e-6,
        1e30,
        1e300,
    ),
    *(None, True, False, "", "relu", "gelu_new", "default", "linear", "x" * 999, "\x1b[31m", "\u202e"),
    *(
        [],
        [2],
        ["a"],
        [[[]]],
        {},
        {"rope_type": "llama3"},
        {"factor": 2.0, "type": "linear"},
        {"a": {"b": 1}},
    ),
)


def spoilt(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Checkpoints of every family with one to three values of the config, or tensors, changed at random."""
    rng = random.Random(seed)
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        honest(place, FAMILIES[number % len(FAMILIES)])
        if rng.random() < 0.25:
            _spoil_tensors(place / "model.safetensors", rng)
        else:
            _spoil_config(place / "config.json", rng)
        yield place


def _spoil_config(path: Path, rng: random.Random) -> None:
    found = json.loads(path.read_text())
    for _ in range(rng.randrange(1, 4)):
        holder, key = found, rng.choice(sorted(found))
        if isinstance(holder[key], dict) and holder[key] and rng.random() < 0.8:
            holder = holder[key]
            key = rng.choice(sorted(holder))
        if rng.random() < 0.15:
            holder.pop(key)
        else:
            holder[key] = rng.choice(_VALUES)
    path.write_text(json.dumps(found))


def _spoil_tensors(path: Path, rng: random.Random) -> None:
    found = load_file(path)
    for _ in range(rng.randrange(1, 3)):
        name = rng.choice(sorted(found))
        array = found.pop(name)
        kind = rng.randrange(5)
        if kind == 0:
            found[name + rng.choice((".x", "\x1b[2J", " "))] = array
        elif kind == 1:
            found[name] = np.zeros(
                rng.choice(((), (0,), (1,), (*array.shape, 1), array.shape[::-1])), array.dtype
            )
        elif kind == 2:
            found[name] = array.astype(rng.choice((np.float16, np.float64, np.int8, np.bool_)))
        elif kind == 3:
            found[name] = np.full_like(array, rng.choice((np.nan, np.inf, 0.0, 1e30)))
    save_file(found, path)
