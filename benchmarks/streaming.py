"""A checkpoint several times larger than the memory it may take: peak memory, and time beside plain inference.

    python benchmarks/streaming.py                    # 4.4 GB, under a hard limit of 1.5 GB
    python benchmarks/streaming.py --gb 0.3 --layers 8 --samples 16

A checkpoint of LLaMA's shape is made of random numbers, inspected by the command line under --memory-limit, and
deleted. `inspect` is the whole job, statistics of every neuron included; `stages` is what streaming itself takes:
all stages, one site observed. `plain` is one onnxruntime session on all blocks, as files on the disk, in the better of
two layouts (sessions × threads), loading not counted. All are given the same samples, and stop before the head,
which holds no neurons.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from harness import measure, report

VOCABULARY, HEADS, TOKENS = 32_000, 32, 128
SHARD_BYTES = 1 << 30
PLAIN = ("plain 2x1", "plain 1x2")


def config(gb: float, layers: int) -> dict[str, Any]:
    """A LLaMA of so many layers whose float32 weights take about so many GB (10^9 bytes)."""
    width = next(w for w in range(64, 1 << 15, 64) if 4 * _numbers(w, layers) >= gb * 1e9)
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": width,
        "intermediate_size": width * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": min(HEADS, width // 32),
        "num_key_value_heads": min(HEADS, width // 32) // 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    }


def _numbers(width: int, layers: int) -> int:
    return layers * (3 * width * width + 3 * width * (width * 11 // 4)) + 2 * VOCABULARY * width


def tensors(made: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes, in the order of the layers."""
    width, inner = made["hidden_size"], made["intermediate_size"]
    keys = width * made["num_key_value_heads"] // made["num_attention_heads"]
    yield "model.embed_tokens.weight", (VOCABULARY, width)
    for k in range(made["num_hidden_layers"]):
        at = f"model.layers.{k}"
        yield f"{at}.input_layernorm.weight", (width,)
        yield f"{at}.self_attn.q_proj.weight", (width, width)
        yield f"{at}.self_attn.k_proj.weight", (keys, width)
        yield f"{at}.self_attn.v_proj.weight", (keys, width)
        yield f"{at}.self_attn.o_proj.weight", (width, width)
        yield f"{at}.post_attention_layernorm.weight", (width,)
        yield f"{at}.mlp.gate_proj.weight", (inner, width)
        yield f"{at}.mlp.up_proj.weight", (inner, width)
        yield f"{at}.mlp.down_proj.weight", (width, inner)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (VOCABULARY, width)


def make(folder: Path, made: dict[str, Any], dtype: str) -> int:
    """Write the checkpoint in shards, one tensor in memory at a time; its size in bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(made))
    size = 4 if dtype == "F32" else 2
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    for name, shape in tensors(made):
        held = sum(int(np.prod(s)) for _, s in shards[-1]) * size
        if held and held + int(np.prod(shape)) * size > SHARD_BYTES:
            shards.append([])
        shards[-1].append((name, shape))
    generator, places = np.random.default_rng(0), {}
    for k, shard in enumerate(shards):
        file = f"model-{k + 1:05}-of-{len(shards):05}.safetensors"
        places |= dict.fromkeys((name for name, _ in shard), file)
        _write(folder / file, shard, dtype, size, generator)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(path.stat().st_size for path in folder.iterdir())


def _write(path: Path, shard: list[Any], dtype: str, size: int, generator: np.random.Generator) -> None:
    header, at = {}, 0
    for name, shape in shard:
        end = at + int(np.prod(shape)) * size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in shard:
            values = generator.standard_normal(shape, np.float32)
            values *= 0.7 / shape[-1] ** 0.5 if len(shape) > 1 else 0.1
            values += 1 if len(shape) == 1 else 0
            file.write((values if size == 4 else (values.view(np.uint32) >> 16).astype(np.uint16)).data)


def inspected(folder: Path, data: Path, limit: str) -> dict[str, float]:
    """The command line under the limit: its seconds, and the most that its child held, in MB."""
    run = folder.parent / "run.h5"
    words = [sys.executable, "-m", "nla", "inspect", str(folder), "--data", str(data), "-q"]
    begin = time.perf_counter()
    process = subprocess.Popen([*words, "--memory-limit", limit, "-o", str(run)])
    most = {"RssAnon": 0, "RssFile": 0, "VmRSS": 0}
    while process.poll() is None:
        for pid in _children(process.pid):
            for key, value in _memory(pid).items():
                most[key] = max(most[key], value)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"nla inspect ended with {process.returncode}")
    import nla

    replay = nla.load(run).replay
    told = {f"{name} MB": value / 1000 for name, value in most.items()}
    return {
        "command seconds": time.perf_counter() - begin,
        "replay seconds": replay["seconds"],
        "recording MB": run.stat().st_size / 1e6,
        **told,
    }


def _children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def _memory(pid: int) -> dict[str, int]:
    try:
        lines = dict(
            x.split(":", 1) for x in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in x
        )
        return {key: int(lines[key].split()[0]) for key in ("RssAnon", "RssFile", "VmRSS") if key in lines}
    except OSError:
        return {}


def one(variant: str, folder: Path, data: Path) -> None:
    """Time one variant in this process, and print what it took."""
    seconds = stages(folder, data) if variant == "stages" else plain(folder, data, variant)
    report(seconds)


def stages(folder: Path, data: Path) -> tuple[float, float]:
    """All stages in turn, with one site observed."""
    from nla.graph.find import find_sites
    from nla.replay.passes import Settings
    from nla.replay.streaming.cutting import cutting
    from nla.replay.streaming.splitting import Streamed
    from nla.replay.streaming.work import opened

    checkpoint, prepared, samples = _opened(folder, data)
    found, _ = find_sites(prepared.model, frozenset())
    cut = cutting(prepared.model.graph, checkpoint.cuts)
    settings = Settings(0.001, 1e-3, 1e-6, "numpy", os.cpu_count() or 1, None)
    last = max(found, key=lambda site: (cut.stage_of(site.name), site.role == "mlp_post"))
    with opened(None, "") as work:
        streamed = Streamed(
            prepared.model, cut, checkpoint.external_files, {}, work, ("CPUExecutionProvider",)
        )
        return _timed(
            lambda: streamed.replay_split(
                "calibration", [last], samples, settings, lambda *_: None, observe_pre=False
            )
        )


def plain(folder: Path, data: Path, variant: str) -> tuple[float, float]:
    """One session on all blocks, to the last hidden state."""
    import onnxruntime as ort

    from nla.graph.rewrite import extract
    from nla.replay.session import give_external

    checkpoint, prepared, samples = _opened(folder, data)
    cut = checkpoint.cuts[-1]
    workers, threads = (int(n) for n in variant.split(" ")[1].split("x"))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    external = checkpoint.map_external()
    give_external(options, external)
    content = extract(prepared.model, [cut]).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    batches = [np.arange(k, min(k + 4, samples.samples)) for k in range(0, samples.samples, 4)]

    def work(own: list[Any]) -> None:
        for where in own:
            session.run([cut], {k: v for k, v in samples.feeds(where).items() if k in names})

    def run() -> None:
        threads = [Thread(target=work, args=(batches[k::workers],)) for k in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    work(batches[:1])
    return _timed(run)


def _opened(folder: Path, data: Path) -> tuple[Any, Any, Any]:
    from nla.architectures.opening import open_checkpoint
    from nla.calibration import CalibrationOptions, open_calibration
    from nla.graph.prepare import prepare

    checkpoint = open_checkpoint(folder)
    prepared = prepare(checkpoint)
    samples = open_calibration(str(data), prepared.inputs, CalibrationOptions())
    return checkpoint, prepare(checkpoint, {}, samples.shapes), samples


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    from harness import since, stopwatch

    begin = stopwatch()
    run()
    return since(begin)


def main() -> None:
    """Make the checkpoint, measure, print, delete."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4.4)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--dtype", choices=("F32", "BF16"), default="F32")
    parser.add_argument("--limit", default="1.5GB")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="where to make it; removed afterwards")
    parser.add_argument("--one", nargs=3, metavar=("VARIANT", "CHECKPOINT", "DATA"))
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], Path(arguments.one[1]), Path(arguments.one[2]))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="nla-streaming-") as temporary:
        folder, data = Path(temporary) / "checkpoint", Path(temporary) / "data.npz"
        made = config(arguments.gb, arguments.layers)
        needed = arguments.gb * 1.1e9
        if shutil.disk_usage(temporary).free < needed:
            raise SystemExit(f"{temporary} has no room for {needed:,.0f} bytes")
        size = make(folder, made, arguments.dtype)
        ids = np.random.default_rng(1).integers(0, VOCABULARY, (arguments.samples, TOKENS))
        np.savez(data, input_ids=ids)
        print(
            f"{size / 1e9:.2f} GB {arguments.dtype}, {arguments.layers} layers of width {made['hidden_size']}, "
            f"{arguments.samples} x {TOKENS} tokens, limit {arguments.limit}\n"
        )
        for name, value in inspected(folder, data, arguments.limit).items():
            print(f"inspect: {name:16} {value:10.1f}", flush=True)
        script = str(Path(__file__).resolve())
        variants = ("stages", *PLAIN)
        rows = measure(
            {name: [script, "--one", name, str(folder), str(data)] for name in variants}, arguments.rounds
        )
        best = min(row.best for row in rows if row.name in PLAIN)
        least = min(row.best_cpu for row in rows if row.name in PLAIN)
        print(
            "\n| variant | s | ratio to the better plain | ratio in processor time | peak MB |\n|---|---|---|---|---|"
        )
        for row in rows:
            ratios = f"{row.best / best:.2f} | {row.best_cpu / least:.2f}"
            print(f"| {row.name} | {row.best:.1f} | {ratios} | {max(row.rss_mb, default=0):.0f} | {row.note}")


if __name__ == "__main__":
    main()
