"""A story: a model, its data, and what is true of its neurons; and how that truth is derived and written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from making.data import TRAINED_ON

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DORMANT_AT_MOST = 0.025  # dormancy score; Sokar et al. 2023
SATURATED_SHARE = 0.99  # of positions with |φ′| <= 0.01
FLAT: dict[str, Callable[[Floats], Bools]] = {
    "Tanh": lambda a: np.abs(a) >= np.sqrt(0.99),  # 1 - tanh² <= 0.01
    "Elu": lambda a: a <= -0.99,  # the slope is a + 1 there
}
"""Where |φ′| <= 0.01, told from a."""
PROVENANCE = "numpy float64 over all of data.npz (sample_models/build.py); `planted` by construction"
EXACT_ZERO = ("Relu",)  # φ that are zero on a half-line: dead means exactly zero
BORDERLINE = 1e-5  # float32 may round |z| below this share of the neuron's largest |z| to either side of zero


@dataclass
class Site:
    """One site as the float64 reference sees it: `z` and `a` are [samples, positions, neurons]."""

    name: str
    role: str
    activation: str
    channel_axis: int
    z: Floats
    a: Floats
    mask: Bools | None = None
    """[samples, positions], True where counted."""
    planted: dict[str, list[int]] = field(default_factory=dict)
    """State -> neurons that are in it by construction."""
    fires_when: str = "z > 0"
    borderline: float = BORDERLINE
    sample_axis: int = 0
    """Axis of the samples in the tensor `name`."""
    unit_size: int = 1
    """Adjacent channels that make one neuron, whose value is their Euclidean norm."""

    def counted(self) -> Bools:
        """[samples, positions]"""
        return np.ones(self.z.shape[:2], bool) if self.mask is None else self.mask

    def uncertain(self) -> Bools:
        """[samples] True where float32 could see another sign of z than float64 does."""
        size = np.where(self.counted()[..., None], np.abs(self.z), 0)
        near = (size < self.borderline * size.max((0, 1))) & self.counted()[..., None]
        return np.asarray(near.any((1, 2)))

    def only(self, keep: Bools) -> Site:
        """The same site on the samples that are kept."""
        mask = None if self.mask is None else self.mask[keep]
        return Site(**{**vars(self), "z": self.z[keep], "a": self.a[keep], "mask": mask})


@dataclass
class Story:
    """A sample model before it is written."""

    name: str
    tells: str
    """One line for the table."""
    model: onnx.ModelProto
    data: dict[str, NDArray[Any]]
    sites: list[Site]
    logits: Floats
    """[samples, classes]"""
    trained_on: int = TRAINED_ON
    """The first so many samples were trained on, the others are unseen."""
    facts: dict[str, Any] = field(default_factory=dict)
    external_file: str | None = None
    uncertain: Bools | None = None
    """[samples] True where float32 could go another way than the signs tell (a tie in rounding)."""


def units_by_state(site: Site) -> dict[str, list[int]]:
    """Neurons that are dead, constant, saturated or dormant, in this order; none is near a threshold."""
    rows = site.a[site.counted()]
    largest, extent = np.abs(rows).max(0), rows.max(0) - rows.min(0)
    dead = largest == 0 if site.activation in EXACT_ZERO else largest <= 1e-7
    constant = ~dead & (extent <= 1e-7)
    rest = ~dead & ~constant
    assert (extent[rest] > 1e-4).all(), (
        f"{site.name}: nearly constant neurons {np.flatnonzero(extent < 1e-4)}"
    )
    saturated = np.zeros_like(dead)
    if site.activation in FLAT:
        share = FLAT[site.activation](rows).mean(0)
        saturated = rest & (share >= SATURATED_SHARE)
        assert not ((share > 0.98) & (share < 0.995) & rest).any(), f"{site.name}: borderline saturation"
    score = np.abs(rows).mean(0) / (np.abs(rows).mean() or 1.0)
    dormant = rest & ~saturated & (score <= DORMANT_AT_MOST)
    assert not (np.abs(score / DORMANT_AT_MOST - 1) < 0.001).any(), f"{site.name}: borderline dormancy"
    states = {"dead": dead, "constant": constant, "saturated": saturated, "dormant": dormant}
    return {name: np.flatnonzero(members).tolist() for name, members in states.items()}


def site_facts(site: Site) -> dict[str, Any]:
    """What `expected/*.json` says of one site; all counts exact."""
    units, counted = units_by_state(site), site.counted()
    for state, planted in site.planted.items():
        assert set(planted) <= set(units[state]), (
            f"{site.name}: planted {state} {planted}, found {units[state]}"
        )
    fires = (site.z > 0) & counted[..., None]
    rows = site.a[counted]
    return {
        "name": site.name,
        "role": site.role,
        "activation": site.activation,
        "neurons": site.z.shape[2],
        "channel_axis": site.channel_axis,
        "sample_axis": site.sample_axis,
        "unit_size": site.unit_size,
        "samples": site.z.shape[0],
        "positions": int(counted.sum()),
        "fires_when": site.fires_when,
        "counts": {state: len(members) for state, members in units.items()},
        "units": units,
        "planted": site.planted,
        "positive": fires.sum((0, 1)).tolist(),
        "fired_samples": fires.any(1).sum(0).tolist(),
        "mean_abs": significant(np.abs(rows).mean(0)),
        "max": significant(rows.max(0)),
    }


def significant(values: Floats) -> list[float]:
    """The values to seven significant digits, as many as float32 has."""
    return [float(f"{v:.7g}") for v in values]


def trim(story: Story) -> Story:
    """The story without the samples in which float32 and float64 could disagree about a sign."""
    doubts = [site.uncertain() for site in story.sites]
    keep = ~np.any(doubts if story.uncertain is None else [*doubts, story.uncertain], axis=0)
    story.data = {name: values[keep] for name, values in story.data.items()}
    story.sites = [site.only(keep) for site in story.sites]
    story.logits, story.trained_on = story.logits[keep], int(keep[: story.trained_on].sum())
    story.facts["left_out_as_borderline"] = int((~keep).sum())
    return story


def accuracy(story: Story) -> dict[str, float]:
    """Share of right answers in [0, 1] on the samples that were trained on and on those that were not."""
    right = story.logits.argmax(1) == story.data["y"]
    parts = {"trained_on": right[: story.trained_on], "unseen": right[story.trained_on :]}
    return {name: round(float(part.mean()), 4) for name, part in parts.items() if len(part)}


def write(story: Story, root: Path) -> dict[str, Any]:
    """Writes the folder of one story and its expected file; gives back what was expected."""
    onnx.checker.check_model(story.model, full_check=True)
    folder = root / story.name
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "data.npz", allow_pickle=False, **story.data)
    if story.external_file:
        (folder / story.external_file).unlink(missing_ok=True)  # onnx appends to a file that is there
        onnx.save(
            story.model,
            folder / "model.onnx",
            save_as_external_data=True,
            location=story.external_file,
            size_threshold=0,
        )
    else:
        onnx.save(story.model, folder / "model.onnx")
    expected = {
        "model": f"{story.name}/model.onnx",
        "tells": story.tells,
        "provenance": PROVENANCE,
        **story.facts,
        "trained_on": story.trained_on,
        "accuracy": accuracy(story),
        "sites": [site_facts(site) for site in story.sites],
    }
    text = json.dumps(expected, indent=1)
    (root / "expected" / f"{story.name}.json").write_text(compact_lists(text) + "\n")
    return expected


def compact_lists(text: str) -> str:
    """JSON text with every list of numbers on one line."""
    return re.sub(r"\[\s+([-\d.,e\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
