"""Random networks of every kind of block: what an action was not refused for, it did exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from random_graphs import random_network
from site_graphs import run

from nla.activations import Activation
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.manifest.document import Action
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS

every_seed = pytest.mark.parametrize("seed", range(12))


class Edited:
    """A random network, on whose sites actions are carried out."""

    def __init__(self, seed, folder):
        self.net = random_network(seed)
        self.folder = folder
        onnx.save(self.net.model, folder / "source.onnx")
        self.checkpoint = open_onnx(folder / "source.onnx")
        self.structure = Structure.of(self.checkpoint)
        self.output = self.net.model.graph.output[0].name
        self.names = [name for name in self.net.planted if name in self.structure.drafts]
        self.begin()

    def begin(self):
        self.edit = ModelEdit(self.checkpoint)

    def act(self, kind, name, units, **parameters):
        """The units that it was done to."""
        site = self.structure.site(name)
        refused = ACTIONS[kind](
            self.edit, self.structure, site, Action("a1", kind, name, tuple(units), parameters)
        )
        stay = {unit for entry in refused for unit in entry.units}
        return [unit for unit in units if unit not in stay]

    def values(self, *names):
        """(before, after) of the tensors; a site's neurons first."""
        self.edit.write(self.folder / "edited.onnx")
        onnx.checker.check_model(str(self.folder / "edited.onnx"), full_check=True)
        feeds = {"x": self.net.x}
        pairs = zip(
            run(self.net.model, feeds, names),
            run(onnx.load(self.folder / "edited.onnx"), feeds, names),
            strict=True,
        )
        return [
            tuple(self.first(name, value) for value in pair) for name, pair in zip(names, pairs, strict=True)
        ]

    def first(self, name, value):
        if name == self.output:
            return value
        site = next(s for s in self.structure.sites.values() if name in (s.name, s.pre))
        return np.moveaxis(value, site.channel_axes[-1], 0)


@pytest.fixture
def edited(seed, tmp_path):
    return Edited(seed, tmp_path)


@every_seed
def test_masking_all_dead_units_keeps_the_outputs(edited):
    done = {name: edited.act("mask", name, edited.net.planted[name].dead) for name in edited.names}
    (before, after), *sites = edited.values(edited.output, *edited.names)
    np.testing.assert_allclose(after, before, atol=1e-5 * max(1, np.abs(before).max()))
    for (_, a), units in zip(sites, done.values(), strict=True):
        assert np.all(a[units] == 0)


@every_seed
def test_masking_constant_units_keeps_the_outputs(edited):
    for name in edited.names:
        (a, _) = edited.values(name)[0]
        units = [unit for unit in edited.net.planted[name].constant if np.ptp(a[unit]) < 1e-6]
        edited.act("mask", name, units, values=[float(a[unit].mean()) for unit in units])
    before, after = edited.values(edited.output)[0]
    np.testing.assert_allclose(after, before, atol=1e-5 * max(1, np.abs(before).max()))


@every_seed
def test_resetting_all_dead_units_keeps_the_outputs_and_wakes_them(edited):
    done = {}
    for name in edited.names:
        units = edited.net.planted[name].dead
        done[name] = edited.act("reset", name, units, scheme="he", seed=0, means=[0.0] * len(units))
    (before, after), *sites = edited.values(edited.output, *edited.names)
    np.testing.assert_allclose(after, before, atol=1e-5 * max(1, np.abs(before).max()))
    awake = [
        bool((a[unit] > 0).any())
        for (_, a), units in zip(sites, done.values(), strict=True)
        for unit in units
    ]
    assert sum(awake) >= 0.8 * len(awake)


@every_seed
@pytest.mark.parametrize("kind", ["shift", "flip", "swap"])
def test_one_site_is_changed_as_promised(edited, kind):
    for name in edited.names:
        site = edited.structure.site(name)
        if site.activation.name != "Relu" or site.pre is None:
            continue
        edited.begin()
        units = list(range(site.neurons)) if kind != "shift" else [0, site.neurons - 1]
        parameters = {
            "shift": {"delta": [0.5, -0.75], "zero_outgoing": False, "target_rate": 0.1},
            "flip": {},
            "swap": {"to": "Silu"},
        }[kind]
        done = edited.act(kind, name, units, **parameters)
        (z, _) = edited.values(site.pre)[0]
        (_, a) = edited.values(name)[0]
        expected = z.copy()
        for unit in done:
            if kind == "shift":
                expected[unit] += 0.5 if unit == 0 else -0.75
            elif kind == "flip":
                expected[unit] *= -1
        phi = Activation.named("Swish" if kind == "swap" and done else "Relu")
        np.testing.assert_allclose(a, phi.value(expected), atol=1e-4, rtol=1e-5)
