"""The sample series: what is expected of its checkpoints is true, and nla's verdict is the expected one."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest

import nla

ROOT = Path(__file__).resolve().parents[1] / "sample_models"
FOLDER = ROOT / "dying_series"
EXPECTED: dict[str, Any] = json.loads((ROOT / "expected" / "series" / "dying_series.json").read_text())
CHECKPOINTS = [*EXPECTED["checkpoints"], *(each for run in EXPECTED["twins"].values() for each in run)]
STATES = ("dead", "constant", "saturated", "dormant")

by_checkpoint = pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda each: each["file"])


def data() -> dict[str, np.ndarray]:
    """The committed data, which suit every checkpoint."""
    with np.load(FOLDER / "data.npz") as archive:
        return dict(archive)


def test_the_series_is_small_and_has_every_checkpoint() -> None:
    files = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.onnx"))
    assert files == sorted(each["file"] for each in CHECKPOINTS)
    assert all((FOLDER / name).stat().st_size < 25_000 for name in files)
    assert len(data()["x"]) == EXPECTED["samples"]


@by_checkpoint
def test_expected_facts_are_those_of_plain_onnxruntime(checkpoint: dict[str, Any]) -> None:
    path, arrays = FOLDER / checkpoint["file"], data()
    onnx.checker.check_model(path, full_check=True)
    names = [site["name"] for site in checkpoint["sites"]]
    seen = oracle.replay(path, {"x": arrays["x"]}, [*names, "logits"])
    for site in checkpoint["sites"]:
        a = seen[site["name"]]
        assert (a > 0).sum() == site["positive"]
        if site["name"].endswith("/Relu"):
            assert np.flatnonzero((a == 0).all(0)).tolist() == site["units"]["dead"]
    unseen = slice(EXPECTED["trained_on"], None)
    right = (seen["logits"].argmax(1) == arrays["y"])[unseen]
    assert right.mean() == pytest.approx(checkpoint["accuracy"], abs=0.006)


@by_checkpoint
def test_nla_gives_the_expected_states(checkpoint: dict[str, Any]) -> None:
    seen = nla.inspect(FOLDER / checkpoint["file"], FOLDER / "data.npz", threads=1, in_process=True)
    assert [result.name for result in seen.sites] == [site["name"] for site in checkpoint["sites"]]
    for result, site in zip(seen.sites, checkpoint["sites"], strict=True):
        for state in STATES:
            assert np.flatnonzero(result.states == state).tolist() == site["units"][state], (
                result.name,
                state,
            )
            assert result.counts[state] == site["counts"][state]
        assert result.measurements.positive.sum() == site["positive"]


def test_the_transitions_follow_from_the_neurons_that_are_dead() -> None:
    for k, (name, counts) in enumerate(EXPECTED["transitions"].items()):
        dead = np.zeros((len(EXPECTED["checkpoints"]), 32), bool)
        for step, checkpoint in enumerate(EXPECTED["checkpoints"]):
            assert checkpoint["sites"][k]["name"] == name
            dead[step, checkpoint["sites"][k]["units"]["dead"]] = True
        pairs = [
            tuple(p) for was, now in pairwise(dead) for p in zip(was.tolist(), now.tolist(), strict=True)
        ]
        assert counts == {
            "died": pairs.count((False, True)),
            "revived": pairs.count((True, False)),
            "dead": pairs.count((True, True)),
            "alive": pairs.count((False, False)),
        }


def test_the_series_tells_its_story() -> None:
    first, *deeper = EXPECTED["transitions"].values()
    assert first["died"] > 0
    assert first["revived"] == 0
    for counts in deeper:
        share = counts["revived"] / (counts["revived"] + counts["dead"])
        assert 0.1 < share < 0.34
    assert EXPECTED["checkpoints"][-1]["accuracy"] > 0.95
    for run in EXPECTED["twins"].values():
        assert not any(site["counts"]["dead"] for each in run for site in each["sites"])


def test_the_table_of_accuracies_is_that_of_the_checkpoints() -> None:
    with (FOLDER / "accuracy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = [f"dying_series/{each['file']}".removesuffix(".onnx").split("/")[-2:] for each in CHECKPOINTS]
    assert [row["run"] for row in rows] == ["/".join(run) for run in runs]
    want = [(str(each["epoch"]), str(each["accuracy"])) for each in CHECKPOINTS]
    assert [(row["epoch"], row["accuracy"]) for row in rows] == want


def test_the_readme_shows_the_dead_of_every_layer_and_epoch() -> None:
    readme = (ROOT / "README.md").read_text()
    for k, name in enumerate(EXPECTED["transitions"]):
        dead = [str(each["sites"][k]["counts"]["dead"]) for each in EXPECTED["checkpoints"]]
        assert f"| dead of 32 at `{name}` | {' | '.join(dead)} |" in readme
