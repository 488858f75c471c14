"""A series: checkpoints of one training run, from initialisation on, with data that suit all of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from making.data import digits
from making.dense import dense_sites, mlp_text
from making.graphs import layer_weights, model
from making.reference import dense
from making.story import Site, compact_lists, units_by_state
from making.train import Layers, training

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NAME = "dying_series"
TELLS = "Adam at a rate of 0.03, a checkpoint an epoch: who dies, who fires again, and where death is final"
PROVENANCE = "numpy float64 over all of data.npz (sample_models/making/series.py)"
TRAINED_ON, UNSEEN = 1000, 300
HIDDEN, RATE, EPOCHS, SEED = [32, 32, 32], 0.03, 12, 2
TWINS = {"leaky_relu": "LeakyRelu", "elu": "Elu"}
"""Folder and operator of the runs that differ in φ only."""
TWIN_EPOCHS = (0, 6, 12)


@dataclass
class Checkpoint:
    """One checkpoint as the float64 reference sees it, on the data of the series."""

    file: str
    """Path within the folder of the series."""
    epoch: int
    model: onnx.ModelProto
    sites: list[Site]
    logits: Floats
    """[samples, classes]"""


def checkpoints(
    operator: str, folder: str = "", epochs: Sequence[int] = range(EPOCHS + 1)
) -> list[Checkpoint]:
    """The checkpoints after the named epochs of the run with this activation; epoch 0 is as initialised."""
    x, y = (part[: TRAINED_ON + UNSEEN] for part in digits())
    run = training(
        x[:TRAINED_ON], y[:TRAINED_ON], HIDDEN, operator, learning_rate=RATE, epochs=EPOCHS, seed=SEED
    )
    return [
        checkpoint(layers, operator, f"{folder}epoch{epoch:02d}.onnx", epoch, x.astype(np.float64))
        for epoch, layers in enumerate(run)
        if epoch in epochs
    ]


def checkpoint(layers: Layers, operator: str, file: str, epoch: int, x: Floats) -> Checkpoint:
    """The checkpoint with these layers, which bears the name of its file."""
    seen = dense(layers, operator, x)
    names = [f"/fc{k}/{operator}" for k in range(1, len(layers))]
    proto = model(mlp_text(NAME, len(layers) - 1, operator), layer_weights(layers))
    return Checkpoint(file, epoch, proto, dense_sites(seen, names, operator), seen[-1][0])


def sure(runs: Mapping[str, Sequence[Checkpoint]]) -> Bools:
    """[samples] False where float32 could see another sign than float64 does, in any checkpoint of any run."""
    doubts = [site.uncertain() for run in runs.values() for each in run for site in each.sites]
    return np.asarray(~np.any(doubts, axis=0))


def build(root: Path) -> dict[str, Any]:
    """Writes the folder of the series and its expected file; gives back what was expected."""
    runs = {"": checkpoints("Relu")}
    runs |= {name: checkpoints(op, f"{name}/", TWIN_EPOCHS) for name, op in TWINS.items()}
    keep = sure(runs)
    x, y = (part[: TRAINED_ON + UNSEEN][keep] for part in digits())
    trained_on = int(keep[:TRAINED_ON].sum())
    folder = root / NAME
    for name in runs:
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "data.npz", allow_pickle=False, x=x, y=y)
    told: dict[str, list[dict[str, Any]]] = {}
    for name, run in runs.items():
        for each in run:
            onnx.checker.check_model(each.model, full_check=True)
            onnx.save(each.model, folder / each.file)
        told[name] = [facts(each, keep, y, trained_on) for each in run]
    expected = {
        "series": NAME,
        "tells": TELLS,
        "provenance": PROVENANCE,
        "samples": len(x),
        "trained_on": trained_on,
        "left_out_as_borderline": int((~keep).sum()),
        "checkpoints": told.pop(""),
        "twins": told,
    }
    expected["transitions"] = transitions(expected["checkpoints"])
    write_accuracy(
        folder / "accuracy.csv", [each for run in (expected["checkpoints"], *told.values()) for each in run]
    )
    (root / "expected" / "series").mkdir(exist_ok=True)
    text = compact_lists(json.dumps(expected, indent=1))
    (root / "expected" / "series" / f"{NAME}.json").write_text(text + "\n")
    return expected


def facts(each: Checkpoint, keep: Bools, y: NDArray[np.int64], trained_on: int) -> dict[str, Any]:
    """What is true of one checkpoint on the data that were kept; all counts exact."""
    right = each.logits[keep].argmax(1) == y
    return {
        "file": each.file,
        "epoch": each.epoch,
        "accuracy": round(float(right[trained_on:].mean()), 4),
        "sites": [site_facts(site.only(keep)) for site in each.sites],
    }


def site_facts(site: Site) -> dict[str, Any]:
    """Counts by state, the neurons behind them, and how often z was positive, over all neurons and samples."""
    units = units_by_state(site)
    return {
        "name": site.name,
        "neurons": site.z.shape[2],
        "counts": {state: len(members) for state, members in units.items()},
        "units": units,
        "positive": int((site.z > 0).sum()),
    }


def transitions(run: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By site, over all pairs of consecutive checkpoints: how many neurons died, revived or stayed as they were."""
    counts: dict[str, dict[str, int]] = {}
    for before, after in pairwise(run):
        for old, new in zip(before["sites"], after["sites"], strict=True):
            was, now = set(old["units"]["dead"]), set(new["units"]["dead"])
            into = counts.setdefault(old["name"], dict.fromkeys(("died", "revived", "dead", "alive"), 0))
            into["died"] += len(now - was)
            into["revived"] += len(was - now)
            into["dead"] += len(was & now)
            into["alive"] += old["neurons"] - len(was | now)
    return counts


def write_accuracy(path: Path, told: Sequence[Mapping[str, Any]]) -> None:
    """A row for each checkpoint: the run as `nla compare` calls it, the epoch, the share of right answers unseen."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", "epoch", "accuracy"))
        writer.writerows((run_name(each["file"]), each["epoch"], each["accuracy"]) for each in told)


def run_name(file: str) -> str:
    """The last folder and the name without suffix."""
    path = Path(NAME) / file
    return f"{path.parent.name}/{path.stem}"


def table(expected: Mapping[str, Any]) -> str:
    """The README's table: dead neurons of each layer by epoch, and the accuracy on unseen samples."""
    run = expected["checkpoints"]
    lines = [
        f"| epoch | {' | '.join(str(each['epoch']) for each in run)} |",
        f"|---|{'---:|' * len(run)}",
    ]
    for k, site in enumerate(run[0]["sites"]):
        dead = [str(each["sites"][k]["counts"]["dead"]) for each in run]
        lines.append(f"| dead of {site['neurons']} at `{site['name']}` | {' | '.join(dead)} |")
    shares = [f"{each['accuracy']:.1%}" for each in run]
    lines.append(f"| accuracy | {' | '.join(shares)} |")
    return "\n".join(lines)
