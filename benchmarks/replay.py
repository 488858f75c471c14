"""What `nla.inspect` costs beside plain onnxruntime inference of the same data.

    python benchmarks/replay.py --model resnet50 --rounds 7
    python benchmarks/replay.py --model resnet50 --rounds 5 --peers

Plain inference is timed in four layouts: sessions × intra-op threads 1 × 2 and 2 × 1, with batches of 1 and 4
(an MLP: 64 and 512), and once more in the two of 2 × 1 as a control: how far equal things differ is how far
the figures can be trusted. Every variant fetches the final output, or more.

nla is timed as a user calls it, with every default statistic: all its passes over the data, at the rate they
run at once they run, which is what they take longer over all samples than over a quarter of them. What does not
grow with the data (opening and proving the model, sessions, effective ranks, states) is given beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from harness import Row, measure, report, since, stopwatch, table
from models import MODELS, build, data

# 256 images: the sample of rows of a narrow site takes every image until it is full, after 64, which are the quarter
# that `observed` takes away; beside the thousands of images of a real calibration that start is nothing.
SAMPLES = {"resnet50": 256, "resnet50-dead": 256, "gpt-relu": 48, "gpt-gelu": 48, "mlp": 131_072}
PEERS = ("MinMax", "Percentile", "torch", "torch hooks")


def batches_of(model: str) -> tuple[int, int]:
    """The two batch sizes of plain inference."""
    return (64, 512) if model == "mlp" else (1, 4)


Times = tuple[float, float]
"""Seconds on the clock, and of the processor."""


def plain(path: Path, x: np.ndarray, sessions: int, threads: int, batch: int) -> Times:
    """Seconds for all samples: `sessions` Python threads share one session of `threads` intra-op threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [x[k : k + batch] for k in range(0, len(x), batch)]

    def work(own: list[np.ndarray]) -> None:
        for part in own:
            session.run(None, {name: part})

    for _ in range(2):
        work(parts[:1])
    workers = [Thread(target=work, args=(parts[k::sessions],)) for k in range(sessions)]
    begin = stopwatch()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return since(begin)


def observed(path: Path, x: np.ndarray, kernel: str) -> tuple[Times, str]:
    """Seconds that the passes over all samples take at their steady rate, and the rest of the time as a note."""
    import nla

    def passes(samples: int) -> dict[str, Times]:
        """Time of every pass from its first report of progress, before its first sample, to its last."""
        seen: dict[str, list[Times]] = {}

        def note(event: dict[str, Any]) -> None:
            if "done" in event:
                seen.setdefault(event["phase"], []).append(stopwatch())

        nla.inspect(path, x[:samples], kernel=kernel, threads=2, in_process=True, progress=note)
        return {name: (all_[-1][0] - all_[0][0], all_[-1][1] - all_[0][1]) for name, all_ in seen.items()}

    count = len(x)
    passes(8)  # imports, and compiles if it must
    short = passes(count // 4)
    begin = stopwatch()
    long = passes(count)
    whole = since(begin)
    share = count / (count - count // 4)
    # First runs, and filling the samples of rows, cost the same in both, and cancel out.
    taken = [
        sum(times[k] - short.get(name, (0.0, 0.0))[k] for name, times in long.items()) * share
        for k in range(2)
    ]
    return (
        taken[0],
        taken[1],
    ), f"and {whole[0] - taken[0]:.1f} s of start and verdict; passes: {', '.join(long)}"


def one(variant: str, model: str, folder: Path) -> None:
    """Time one variant in this process, and print what it took."""
    path, x = build(model, folder), data(model, SAMPLES[model])
    kind, _, rest = variant.partition(" ")
    if kind == "nla":
        report(*observed(path, x, rest))
        return
    if variant in PEERS:
        from peers import peer

        report(peer(variant, path, x))
        return
    layout, batch = rest.split(" ")[:2]
    sessions, threads = (int(n) for n in layout.split("x"))
    report(plain(path, x, sessions, threads, int(batch.removeprefix("b"))))


def variants(model: str, peers: bool) -> list[str]:
    """Names of all variants, plain ones first."""
    layouts = [f"plain {layout} b{batch}" for batch in batches_of(model) for layout in ("1x2", "2x1")]
    controls = [f"plain 2x1 b{batch} again" for batch in batches_of(model)]
    return [*layouts, *controls, "nla numba", "nla numpy", *(PEERS if peers else ())]


def run(model: str, rounds: int, folder: Path, peers: bool) -> list[Row]:
    """All rounds of all variants."""
    build(model, folder)
    script = str(Path(__file__).resolve())
    common = ["--model", model, "--folder", str(folder)]
    commands = {name: [script, "--one", name, *common] for name in variants(model, peers)}
    return measure(commands, rounds)


def main() -> None:
    """Time all variants and print the table, or one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=sorted(MODELS), default="resnet50")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/nla-benchmarks"))
    parser.add_argument("--one", metavar="VARIANT", help="time this variant only, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.model, arguments.folder)
        return
    rows = run(arguments.model, arguments.rounds, arguments.folder, arguments.peers)
    print(
        f"### {arguments.model}, {SAMPLES[arguments.model]} samples, minimum (median) of {arguments.rounds} rounds\n"
    )
    print(table(rows, [name for name in variants(arguments.model, False) if name.startswith("plain")]))


if __name__ == "__main__":
    main()
