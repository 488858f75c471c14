"""Domains: what they hold, how they are given and described, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nla.activations import Activation
from nla.certificates import domain_files, domains, first_layer, layers
from nla.certificates.interval import ranges
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.linear import Dense
from nla.certificates.proving import prove
from nla.certificates.sets import Box, Hull, Normalised
from nla.errors import UsageError

SHAPES = {"x": (3, 2, 2), "y": (4,)}


def refused(words, call, *args, **named):
    """Refused in one line that says this."""
    with pytest.raises(UsageError, match=words) as caught:
        call(*args, **named)
    assert str(caught.value).isprintable()


def test_a_box_from_one_number_from_channels_and_from_elements():
    assert (domains.box("x", -1, 2, (3, 2, 2)).box.hi == 2).all()
    by_channel = domains.box("x", [0, 1, 2], [1, 2, 3], (3, 2, 2)).box
    assert by_channel.lo[:, 1, 1].tolist() == [0, 1, 2]
    assert domains.box("y", [[0, 1, 2, 3]], 9, (4,)).box.lo.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("lo", "hi", "words"),
    [
        (1, 0, r"'x'\[0\] is empty.*1 to 0 \(and 3 others\)"),
        ([0, 0, 5, 0], 1, r"'x'\[2\] is empty.*5 to 1$"),
        (np.nan, 1, "is not a number"),
        (0, [1, 1, np.nan, 1], r"'x'\[2\] is not a number"),
        (np.inf, np.inf, "holds no number"),
        ([0, 1], 2, r"2 numbers of shape \(2,\) do not fit one sample, of shape \(4,\)"),
        ("zero", 1, "no arrays of numbers"),
    ],
)
def test_boxes_that_make_no_sense(lo, hi, words):
    refused(words, domains.box, "x", lo, hi, (4,))


def test_texts_of_the_command_line():
    found = domains.from_texts(["0:1", "x=-1:1,0:2,0:inf"], SHAPES)
    assert (found["y"].box.hi == 1).all()
    assert found["x"].box.hi[:, 0, 0].tolist() == [1, 2, np.inf]
    assert found["x"].plain()["high"] is None
    named = domains.from_texts(["in=put:0=0:1"], {"in=put:0": (2,)})
    assert set(named) == {"in=put:0"}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["0"], "no range LOW:HIGH"),
        (["a:b"], "no range LOW:HIGH"),
        (["q=0:1"], "'q', which is no input: 'x', 'y'"),
        (["x=0:1", "x=0:2"], "given twice"),
        (["0:1", "0:2"], "given for every input already"),
        (["x=1:0"], "is empty"),
        (["y=0:1,0:1,0:1"], "do not fit"),
        (["\x1b[31m=0:1"], r"\\x1b"),
    ],
)
def test_texts_that_are_refused(texts, words):
    refused(words, domains.from_texts, texts, SHAPES)


def test_the_range_of_data_and_a_margin():
    samples = np.array([[0.0, 1, 2, 3], [1, -1, 2, 5]])
    seen = domains.Seen("y", (4,))
    for row in samples:
        seen.add(row[None])
    stated = seen.stated(0.5)
    assert stated.box.lo.tolist() == [-0.5, -1.5, 1.5, 2.5]
    assert stated.samples == 2
    assert stated.sentence() == (
        "y within the range of each element over 2 samples, -1.5 to 5.5, 0.5 wider on both sides"
    )
    assert stated.plain() == domains.of_data("y", samples, (4,), 0.5).plain()
    refused("no samples", domains.Seen("y", (4,)).stated)
    refused("margin nan", seen.stated, np.nan)
    refused("samples of 'y' are of shape", domains.of_data, "y", np.zeros((2, 5)), (4,))
    refused(r"sample 1 has nan at 'y'\[2\]", domains.of_data, "y", [[0, 0, 0, 0], [0, 0, np.nan, 0]], (4,))


def test_a_domain_has_to_cover_the_data():
    stated = domains.box("y", 0, 1, (4,))
    domains.check_covers(stated, np.zeros((3, 4)))
    refused(
        r"sample 12 has 1.5 at 'y'\[1\], outside 0 to 1 by 0.5 \(so do 2 of 3 samples\)",
        domains.check_covers,
        stated,
        [[0, 0, 0, 1.25], [0] * 4, [0, 1.5, 0, 0]],
        first=10,
    )


def test_an_integer_input_needs_a_whole_number():
    domains.check_whole(domains.box("y", -0.5, 0.5, (4,)))
    refused(
        "holds no whole number: 0.2 to 0.8", domains.check_whole, domains.box("y", 0.2, [1, 1, 0.8, 1], (4,))
    )


def test_documents_are_strict_json_and_tell_domains_apart():
    points = np.arange(8.0).reshape(2, 4)
    made = [
        domains.box("y", 0, 1, (4,)),
        domains.non_negative("y", (4,)),
        domains.everything("y", (4,)),
        domains.hull("y", points, (4,), 0.1),
        domains.hull("y", points, (4,), 0.2),
        domains.of_data("y", points, (4,)),
    ]
    texts = [json.dumps(each.plain(), allow_nan=False) for each in made]
    assert len({json.loads(text)["sha256"] for text in texts}) == len(made)
    assert made[1].sentence() == "y without negative elements, of any size"
    assert made[3].sentence() == "y in the convex hull of 2 samples, widened by 0.1 in every element"
    assert [each.plain()["uniform"] for each in made] == [True, True, True, False, False, False]


def test_files(tmp_path):
    np.savez(tmp_path / "a.npz", lo=np.zeros(4), hi=np.ones(4))
    found = domain_files.read(tmp_path / "a.npz", {"y": (4,)})
    assert found["y"].kind == "file"
    (tmp_path / "b.json").write_text('{"x": {"lo": [0, 1, 2], "hi": 3}, "y": {"lo": 0, "hi": 1}}')
    found = domain_files.read(tmp_path / "b.json", SHAPES)
    assert found["x"].box.lo[2, 0, 0] == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "cannot be read as a domain"),
        ("a.json", "[1, 2]", "expected an object"),
        ("a.json", '{"lo": 0, "hi": 1}', "name no input; the model has 2"),
        ("a.json", '{"x": {"lo": 0}}', "'x' has no 'hi'"),
        ("a.json", '{"q": {"lo": 0, "hi": 1}}', "no input"),
        ("a.json", '{"x": {"low": 0, "hi": 1}}', "neither 'lo' nor 'hi'"),
        ("a.json", '{"x": {"lo": NaN, "hi": 1}}', "is not a number"),
        ("a.json", '{"x": {"lo": {"a": 1}, "hi": 1}}', "no arrays of numbers"),
        ("a.npz", "no zip", "cannot be read as a domain"),
        ("a.txt", "0 1", "from .npz"),
    ],
)
def test_files_that_are_refused(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    refused(words, domain_files.read, tmp_path / name, SHAPES)
    refused("cannot be read", domain_files.read, tmp_path / "absent.npz", SHAPES)


# --- networks

RELU = Activation.named("Relu")
RNG = np.random.default_rng(1)


def two_layers(given=None):
    """x -> 5 neurons -> 4 neurons; the first layer's output may be given."""
    ops = (
        Dense(("x",), "z1", RNG.normal(size=(5, 3)), RNG.normal(size=5)),
        Activate(("z1",), "a1", RELU),
        Dense(("a1",), "z2", RNG.normal(size=(4, 5)), RNG.normal(size=4)),
        Activate(("z2",), "a2", RELU),
    )
    targets = (Target("a1", "z1", RELU, 0, 5), Target("a2", "z2", RELU, 0, 4))
    return Network(ops, {"x": (3,)}, targets, given or {})


def test_inputs_that_a_site_does_not_depend_on_need_no_domain():
    assert domains.needed(two_layers(), two_layers().targets[1]) == ("x",)
    ball = Normalised((5,), 1, np.ones(5), np.zeros(5), centred=True)
    behind = two_layers({"a1": ball})
    assert domains.needed(behind, behind.targets[1]) == ()
    assert domains.needed(behind, behind.targets[0]) == ("x",)
    bounds = prove(behind, domains.completed(behind, {}), {"a1": range(5), "a2": range(4)})
    assert np.isinf(bounds["a1"].upper).all()
    assert np.isfinite(bounds["a2"].upper).all()


def test_the_range_observed_at_an_inner_tensor_cuts_off_what_lies_before():
    network = two_layers()
    points = RNG.uniform(-1, 1, (50, 3))
    inner = network.forward({"x": points}, ["a1"])["a1"]
    seen = domains.Seen("a1", (5,))
    seen.add(inner)
    stated = seen.stated(kind=domains.OBSERVED)
    cut = layers.layer(network, network.targets[1])
    assert cut.inputs == {"a1": (5,)}
    bounds = prove(cut, {"a1": stated.values}, {"a2": range(4)})["a2"]
    z = network.forward({"x": points}, ["z2"])["z2"]
    assert (z.max(axis=0) <= bounds.upper).all()
    weight, bias = network.ops[2].weight, network.ops[2].bias
    exact = np.maximum(weight, 0) @ inner.max(axis=0) + np.minimum(weight, 0) @ inner.min(axis=0) + bias
    assert bounds.upper == pytest.approx(exact, abs=1e-5)
    assert "whatever leads to values of a1" in stated.sentence()


def test_the_radius_around_the_hull_of_data():
    """(t - max z) / ‖w‖₁; silent just within it, and not beyond: the corner of the worst point's ball fires."""
    network = two_layers()
    points = RNG.uniform(-1, 1, (40, 3))
    op = network.ops[0]
    z = points @ op.weight.T + op.bias
    shifted = Dense(("x",), "z1", op.weight, op.bias - z.max(axis=0) - np.array([0.1, 0.2, 0.5, 1e-3, -0.1]))
    network = Network((shifted, *network.ops[1:]), network.inputs, network.targets)
    target = network.targets[0]
    radii = first_layer.radii(network, target, np.arange(5), {"x": points})
    z = points @ shifted.weight.T + shifted.bias
    exact = -z.max(axis=0) / np.abs(shifted.weight).sum(axis=1)
    assert (radii <= exact).all()
    assert radii == pytest.approx(exact, abs=1e-5)
    for neuron in np.flatnonzero(radii > 0):
        worst = points[z[:, neuron].argmax()] + 1.001 * exact[neuron] * np.sign(shifted.weight[neuron])
        assert worst @ shifted.weight[neuron] + shifted.bias[neuron] > 0
        inside = prove(network, {"x": Hull(points, 0.999 * radii[neuron])}, {"a1": [neuron]}, ("linear",))[
            "a1"
        ]
        assert inside.certified.all()
    assert first_layer.radii(network, network.targets[1], np.arange(4), {"x": points}) is None
    assert not first_layer.is_linear(replace(network, given={"z1": Box(np.zeros(5), np.ones(5))}), target)


def test_the_hull_is_sharper_than_its_box():
    network = two_layers()
    points = RNG.uniform(-1, 1, (6, 3))
    hull = ranges(network, {"x": Hull(points)})
    box = ranges(network, {"x": Box(points.min(axis=0), points.max(axis=0))})
    assert (hull.boxes["x"].lo == box.boxes["x"].lo).all()
    wide, sharp = (
        prove(network, {"x": values}, {"a1": range(5)}, ("linear",))["a1"].upper
        for values in (Box(points.min(axis=0), points.max(axis=0)), Hull(points))
    )
    assert (sharp <= wide + 1e-12).all()
    exact = (points @ network.ops[0].weight.T + network.ops[0].bias).max(axis=0)
    open_rows = exact > 0  # what a cheaper method certifies is left at its bound
    assert open_rows.any()
    assert sharp[open_rows] == pytest.approx(exact[open_rows], abs=1e-4)


def test_a_box_holds_what_its_ends_become_in_the_inputs_type():
    """0.1 is read as 0.10000000149: data that reach the end that was given are covered."""
    read = domains.as_read(domains.box("x", 0.1, 0.3, (2,)), "float32")
    assert read.box.lo.tolist() == [0.1, 0.1]
    assert read.box.hi.tolist() == [float(np.float32(0.3))] * 2
    domains.check_covers(read, np.full((1, 2), 0.3, np.float32))
    assert domains.as_read(domains.box("x", 0, 70000, (2,)), "float16").box.hi.tolist() == [70000.0] * 2
    with pytest.raises(UsageError, match="holds no float16 number"):
        domains.as_read(domains.box("x", 7e4, 8e4, (2,)), "float16")
