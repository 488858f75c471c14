"""Repairs of a real network against the reference results of an independent reproduction."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.onnx_file import open_onnx
from nla.manifest.document import Action
from nla.surgery.structure import Structure
from nla.surgery.weights import ACTIONS

pytestmark = pytest.mark.shared
MODEL = "models/dying-relu/relu/epoch12.onnx"


class Network:
    """The checkpoint, its sites, and what they do on the 10,000 test images."""

    def __init__(self, path, images):
        self.images = images
        self.checkpoint = open_onnx(path)
        self.structure = Structure.of(self.checkpoint)
        self.sites = [site for site in self.structure.sites.values() if site.activation.name == "Relu"]
        self.values = self.run(path)
        self.dead = {s.name: np.flatnonzero((self.values[s.pre] <= 0).all(0)).tolist() for s in self.sites}

    def run(self, path):
        """Every z and a, and the logits, by onnxruntime."""
        proto = onnx.load(str(path))
        self.logits = proto.graph.output[0].name
        names = [name for site in self.sites for name in (site.pre, site.name)]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        wanted = [self.logits, *names]
        return dict(
            zip(wanted, session.run(wanted, {session.get_inputs()[0].name: self.images}), strict=True)
        )

    def repair(self, target, kind, parameters):
        """(share of the dead that fire, largest change of a logit) after an action on all dead units."""
        edit = ModelEdit(self.checkpoint)
        before = self.images
        for site in self.sites:
            units = self.dead[site.name]
            given = parameters(self.values[site.pre][:, units], before)
            action = Action(site.name, kind, site.name, tuple(units), given)
            assert ACTIONS[kind](edit, self.structure, site, action) == []
            before = self.values[site.name]
        edit.write(target)
        after = self.run(target)
        fires = np.concatenate([(after[s.name][:, self.dead[s.name]] > 0).any(0) for s in self.sites])
        return fires.mean(), np.abs(after[self.logits] - self.values[self.logits]).max()


@pytest.fixture(scope="module")
def network(shared):
    with np.load(shared / "data/mnist_t10k.npz") as raw:
        images = next(raw[name] for name in raw.files if raw[name].ndim >= 2)
    return Network(shared / MODEL, images.reshape(len(images), 784).astype(np.float32) / np.float32(255))


def test_the_dead_are_those_of_the_reference(network):
    assert [len(units) for units in network.dead.values()] == [72, 40, 71, 68, 162]


@pytest.mark.parametrize(
    ("kind", "parameters", "share", "change"),
    [
        ("mask", lambda z, x: {}, (0, 0), 0),
        ("reset", lambda z, x: {"scheme": "he", "seed": 0, "means": [0.0] * z.shape[1]}, (1, 1), 1e-4),
        ("shift", lambda z, x: {**_to_rate(z), "zero_outgoing": False, "target_rate": 0.01}, (1, 1), np.inf),
        ("shift", lambda z, x: {**_to_rate(z), "zero_outgoing": True, "target_rate": 0.01}, (1, 1), 1e-4),
        ("strip", lambda z, x: {"fraction": 0.2}, (0.85, 1), np.inf),
        (
            "strip-contribution",
            lambda z, x: {"fraction": 0.05, "input_mean": x.mean(0).tolist()},
            (0.7, 1),
            np.inf,
        ),
    ],
)
def test_repairs_do_what_the_reference_says_they_can(tmp_path, network, kind, parameters, share, change):
    fires, moved = network.repair(tmp_path / "repaired.onnx", kind, parameters)
    assert share[0] <= fires <= share[1]
    assert moved <= change


def _to_rate(z):
    """The bias changes that bring one sample in a hundred above zero."""
    return {"delta": (-np.quantile(z, 0.99, axis=0) + 1e-6).astype(float).tolist()}
