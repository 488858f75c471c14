"""What the repairs do to a dying network, without any training after them.

    python benchmarks/repair.py
    python benchmarks/repair.py --model model.onnx --data data.npz

Each repair is planned for the dead units alone, on four fifths of the data; the last fifth is held out. The accuracy is
that of both together, because the held-out part is small.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import nla

SAMPLE = Path(__file__).resolve().parents[1] / "sample_models" / "dying_relu"
REPAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "strip, 5 % of the fan-in": ("strip", {"fraction": 0.05}),
    "strip, 20 %": ("strip", {"fraction": 0.2}),
    "strip-contribution, 5 %": ("strip-contribution", {"fraction": 0.05}),
    "shift to 1 %": ("shift", {"target_rate": 0.01}),
    "shift to 1 %, outgoing weights zero": ("shift", {"target_rate": 0.01, "zero_outgoing": True}),
    "reset": ("reset", {}),
}


def outputs(model: Path, x: np.ndarray) -> np.ndarray:
    """[samples, classes] what the model answers."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    answers: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return answers


def fired(inspection: nla.Inspection, dead: dict[str, np.ndarray]) -> tuple[float, float]:
    """Share of the once dead units that fire now, on the data and on the held-out part."""
    now = [inspection[name].columns for name in dead]
    units = list(dead.values())
    count = sum(mask.sum() for mask in units)
    on_data = sum((c["fired_samples"][m] > 0).sum() for c, m in zip(now, units, strict=True))
    held_out = sum((c["held_out_fired"][m] > 0).sum() for c, m in zip(now, units, strict=True))
    return on_data / count, held_out / count


def main() -> None:
    """Carry every repair out and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=SAMPLE / "model.onnx")
    parser.add_argument("--data", type=Path, default=SAMPLE / "data.npz")
    arguments = parser.parse_args()
    arrays = np.load(arguments.data)
    x, y = arrays["x"], arrays["y"]
    before = outputs(arguments.model, x)
    with TemporaryDirectory() as folder:
        run, edited = Path(folder) / "run.h5", Path(folder) / "edited.onnx"
        seen = nla.inspect(arguments.model, arguments.data, held_out=0.2, output=run)
        dead = {site.name: site.states == "dead" for site in seen.sites}
        print(f"{sum(int(mask.sum()) for mask in dead.values())} dead units, {len(x):,} samples\n")
        print(
            "| repair | of the dead fire | on held-out data | accuracy at once | largest change of a logit |"
        )
        print("|---|---|---|---|---|")
        print(f"| none | 0 % | {fired(seen, dead)[1]:.0%} | {np.mean(before.argmax(1) == y):.2%} | 0 |")
        for name, (policy, options) in REPAIRS.items():
            nla.apply(nla.plan(run, policy, state=["dead"], **options), arguments.model, edited)
            on_data, held_out = fired(nla.inspect(edited, arguments.data, held_out=0.2), dead)
            after = outputs(edited, x)
            accuracy, change = np.mean(after.argmax(1) == y), np.abs(after - before).max()
            print(f"| {name} | {on_data:.0%} | {held_out:.0%} | {accuracy:.2%} | {change:.3g} |")


if __name__ == "__main__":
    main()
