"""Checkpoints read for the bounds: layers, kernels, groups, biases, signs and ways round, on graphs worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nla
from nla.errors import ModelError, UsageError
from nla.theory.trainability import Trainability

Read = Callable[..., Trainability]
ROOT = Path(__file__).resolve().parents[2]
Node = tuple[str, list[str], str] | tuple[str, list[str], str, dict[str, object]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a graph of these nodes and weights, and reads its trainability."""

    def made(
        nodes: list[Node],
        weights: dict[str, tuple[int, ...]],
        inputs: dict[str, list[int]],
        output: str,
        **options: object,
    ) -> Trainability:
        rng = np.random.default_rng(0)
        graph = helper.make_graph(
            [
                helper.make_node(kind, operands, [name], name=name, **(rest[0] if rest else {}))
                for kind, operands, name, *rest in nodes
            ],
            "g",
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.abs(rng.standard_normal(shape)).astype(np.float32), name)
                for name, shape in weights.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "m.onnx")
        return nla.trainability(tmp_path / "m.onnx", in_process=True, **options)  # type: ignore[arg-type]

    return made


def seen(found: Trainability) -> dict[str, tuple[object, ...]]:
    """By layer: neurons, fan-in, bias, groups, on every path, on the shortest, counted by the upper bound."""
    return {
        each.layer.name: (
            each.layer.neurons,
            each.layer.fan_in,
            each.layer.bias,
            each.layer.groups,
            each.on_every_path,
            each.on_shortest,
            each.on_every_path and not each.certain,
        )
        for each in found.layers
    }


CHAIN: list[Node] = [
    ("Conv", ["x", "w1", "b1"], "c1", {"pads": [1, 1, 1, 1]}),
    ("Relu", ["c1"], "r1"),
    ("Conv", ["r1", "w2"], "c2", {"group": 4}),
    ("Clip", ["c2", "zero", "six"], "r2"),
    ("GlobalAveragePool", ["r2"], "p"),
    ("Flatten", ["p"], "f"),
    ("Gemm", ["f", "w3", "b3"], "z3", {"transB": 1}),
    ("Relu", ["z3"], "r3"),
    ("Gemm", ["r3", "w4"], "y", {"transB": 1}),
]
CHAIN_WEIGHTS: dict[str, tuple[int, ...]] = {
    **{"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 2, 2), "w3": (5, 4), "b3": (5,), "w4": (2, 5)},
    **{"zero": (), "six": ()},
}


@pytest.fixture
def chain(read: Read, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainability]:
    """A convolution, a depthwise one with a ceiling, a dense layer."""
    clip = [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Constant", [], ["six"], value_float=6.0),
    ]
    weights = {name: shape for name, shape in CHAIN_WEIGHTS.items() if name not in ("zero", "six")}
    make_graph = helper.make_graph

    def with_constants(nodes, *rest):
        return make_graph([*clip, *nodes], *rest)

    monkeypatch.setattr(helper, "make_graph", with_constants)
    return lambda **options: read(CHAIN, weights, {"x": [1, 3, 8, 8]}, "y", **options)


def test_a_chain_of_convolutions_and_dense_layers(chain):
    found = chain()
    assert seen(found) == {
        "r1": (4, 27, True, 1, True, True, False),  # it reads data of both signs
        "r2": (4, 4, False, 4, True, True, True),
        "r3": (5, 4, True, 1, True, True, True),
    }
    assert [each.convolution for each in found.layers] == [True, True, False]
    lower = (1 - 2.0**-4) * (1 - 2.0**-1) * (1 - 2.0**-5)  # depthwise without bias: 2^-(4/4)
    assert found.bounds.lower.alive == pytest.approx(lower, rel=1e-14)
    assert found.bounds.upper.alive == pytest.approx((1 - 2.0**-16) * (1 - 2.0**-25), rel=1e-14)
    dangers = [-math.log1p(-(2.0**-n)) for n in (4, 1, 5)]
    assert found.shares == pytest.approx([danger / sum(dangers) for danger in dangers])
    assert found.thin == (1, 0)
    assert "ceiling" in found.notes[0]


def test_non_negative_data_biases_of_zero_and_orthogonal_weights(chain):
    found = chain(non_negative=True, no_bias=True)
    assert seen(found)["r1"] == (4, 27, False, 1, True, True, True)
    upper = (1 - 2.0**-108) * (1 - 2.0**-16) * (1 - 2.0**-20)
    assert found.bounds.upper.alive == pytest.approx(upper, rel=1e-14)
    assert chain(orthogonal=True).bounds.upper is None
    assert chain(probability=0.9).width.depth == 3


def test_an_identity_skip_is_a_way_round_its_block(read):
    """x + f(x), then ReLU: the inner layer can be gone round; the outer one has a skip in its sum."""
    nodes: list[Node] = [
        ("Gemm", ["x", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w2"], "z2"),
        ("Relu", ["z2"], "r2"),
        ("Gemm", ["r2", "w3"], "z3"),
        ("Add", ["z3", "r1"], "s"),
        ("Relu", ["s"], "r3"),
        ("Gemm", ["r3", "w4"], "y"),
    ]
    weights = {"w1": (4, 6), "w2": (6, 2), "w3": (2, 6), "w4": (6, 3)}
    found = read(nodes, weights, {"x": [1, 4]}, "y")
    assert seen(found) == {
        "r1": (6, 4, False, 1, True, True, False),
        "r2": (2, 6, False, 1, False, False, False),
        "r3": (6, 2, False, 1, True, True, False),
    }
    assert found.bounds.lower.alive == pytest.approx((1 - 2.0**-6) ** 2)
    assert found.bounds.upper.alive == 1
    assert found.layers[2].certain == "a skip connection is added to its pre-activations"
    assert found.shares[1] == 0


def test_a_skip_of_either_sign_is_not_covered(read):
    nodes: list[Node] = [
        ("Gemm", ["x", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w2"], "z2"),
        ("Add", ["z2", "x"], "s"),
        ("Relu", ["s"], "r2"),
        ("Gemm", ["r2", "w3"], "y"),
    ]
    weights = {"w1": (4, 3), "w2": (3, 4), "w3": (4, 2)}
    found = read(nodes, weights, {"x": [1, 4]}, "y")
    assert [(each.name, "negative" in each.reason) for each in found.uncovered] == [("r2", True)]
    assert seen(found) == {"r1": (3, 4, False, 1, False, False, False)}
    assert found.depth == 0
    assert found.in_the_way == ("r2",)  # it can silence everything: nothing is promised
    assert found.bounds.lower.alive == 0
    assert found.bounds.upper.alive == 1
    covered = read(nodes, weights, {"x": [1, 4]}, "y", non_negative=True)
    assert seen(covered)["r2"] == (4, 3, False, 1, True, True, False)


def test_a_projection_skip_counts_the_weights_of_both_layers(read):
    nodes: list[Node] = [
        ("Gemm", ["x", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w2", "b2"], "z2"),
        ("Gemm", ["r1", "wp"], "zp"),
        ("Add", ["z2", "zp"], "s"),
        ("Relu", ["s"], "r2"),
        ("Gemm", ["r2", "w3"], "y"),
    ]
    weights = {"w1": (4, 3), "w2": (3, 5), "b2": (5,), "wp": (3, 5), "w3": (5, 2)}
    found = read(nodes, weights, {"x": [1, 4]}, "y")
    assert seen(found)["r2"] == (5, 6, True, 1, True, True, True)


def test_pre_activations_side_by_side_count_what_a_living_point_reaches(read):
    """z1 beside z2, which is made of relu(z1): where z1 ≤ 0 everywhere both are, with 2^-2 and not 2^-5."""
    nodes: list[Node] = [
        ("Gemm", ["x", "w0"], "z0"),
        ("Relu", ["z0"], "r0"),
        ("Gemm", ["r0", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w2", "b2"], "z2"),
        ("Concat", ["z1", "z2"], "c", {"axis": 1}),
        ("Relu", ["c"], "r2"),
        ("Gemm", ["r2", "w3"], "y"),
    ]
    weights = {"w0": (2, 2), "w1": (2, 2), "w2": (2, 3), "b2": (3,), "w3": (5, 3)}
    found = read(nodes, weights, {"x": [1, 2]}, "y", no_bias=True)
    assert seen(found)["r2"] == (5, 2, False, 1, True, True, True)  # 2 * 2 + 3 * 2 weights of 5 neurons
    assert found.bounds.lower.alive == pytest.approx((1 - 2.0**-2) ** 2)
    assert found.bounds.upper.alive == pytest.approx(1 - 2.0**-10)
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((4, 20_000, 3, 2))
    h = np.maximum(rng.standard_normal((20_000, 1, 2)) @ matrices[0, :, :2], 0)
    z1 = h @ matrices[1, :, :2]
    z2 = np.maximum(z1, 0) @ matrices[2].transpose(0, 2, 1)
    lives = (np.concatenate([z1, z2], -1) > 0).any((1, 2)).mean()
    assert lives == pytest.approx(found.bounds.lower.alive, abs=0.015)
    with_biases = read(nodes, weights, {"x": [1, 2]}, "y")  # those of z2 reach three neurons
    assert with_biases.bounds.lower.alive == pytest.approx((1 - 2.0**-2) * (1 - 2.0**-3))


def test_a_gate_that_is_never_zero_silences_nothing(read):
    """Squeeze and excitation: the two neurons of the gate's bottleneck do not endanger the network."""
    nodes: list[Node] = [
        ("Gemm", ["x", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w2"], "z2"),
        ("Relu", ["z2"], "r2"),
        ("Gemm", ["r2", "w3"], "z3"),
        ("Sigmoid", ["z3"], "g"),
        ("Mul", ["r1", "g"], "m"),
        ("Gemm", ["m", "w4"], "y"),
    ]
    weights = {"w1": (4, 6), "w2": (6, 2), "w3": (2, 6), "w4": (6, 3)}
    found = read(nodes, weights, {"x": [1, 4]}, "y")
    assert {name: facts[4:6] for name, facts in seen(found).items()} == {
        "r1": (True, True),
        "r2": (False, False),
    }


def test_of_branches_side_by_side_the_least_dangerous_counts_and_of_factors_all(read):
    weights = {"w1": (4, 3), "w2": (4, 7), "w3": (7, 7), "wm": (4, 7), "w4": (10, 2), "w5": (7, 2)}
    beside: list[Node] = [
        ("Gemm", ["x", "w1"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["x", "w2"], "z2"),
        ("Relu", ["z2"], "r2"),
        ("Gemm", ["r2", "w3"], "z3"),
        ("Relu", ["z3"], "r3"),
    ]
    found = read(
        [*beside, ("Concat", ["r1", "r3"], "c", {"axis": 1}), ("Gemm", ["c", "w4"], "y")],
        weights,
        {"x": [1, 4]},
        "y",
    )
    assert {name: facts[4:6] for name, facts in seen(found).items()} == {
        "r1": (False, False),
        "r2": (False, True),
        "r3": (False, True),
    }
    assert found.bounds.lower.alive == pytest.approx((1 - 2.0**-7) ** 2)
    times: list[Node] = [
        *beside[2:],
        ("Gemm", ["x", "wm"], "zm"),
        ("Relu", ["zm"], "rm"),
        ("Mul", ["r3", "rm"], "m"),
        ("Gemm", ["m", "w5"], "y"),
    ]
    product = read(times, weights, {"x": [1, 4]}, "y")
    assert {name: facts[5] for name, facts in seen(product).items()} == {"r2": True, "r3": True, "rm": True}


def test_a_normalisation_leaves_the_lower_bound_and_other_activations_are_listed(read):
    nodes: list[Node] = [
        ("Conv", ["x", "w1"], "c1"),
        ("BatchNormalization", ["c1", "g", "b", "m", "v"], "n1"),
        ("Relu", ["n1"], "r1"),
        ("Conv", ["r1", "w2"], "c2"),
        ("LeakyRelu", ["c2"], "l"),
        ("Conv", ["l", "w3"], "c3"),
        ("Relu", ["c3"], "r3"),
        ("Conv", ["r3", "w3"], "y"),
    ]
    weights = {"w1": (4, 2, 1, 1), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1), **dict.fromkeys("gbmv", (4,))}
    found = read(nodes, weights, {"x": [1, 2, 5, 5]}, "y", non_negative=True)
    assert [(each.name, each.activation) for each in found.uncovered] == [("l", "LeakyRelu")]
    assert found.layers[0].certain == "a normalisation centres its pre-activations"
    assert found.layers[1].certain == "it reads values of both signs"
    assert found.bounds.upper.alive == 1


def test_weights_that_layers_share_are_not_drawn_twice(read):
    """Two layers of one 2 x 2 matrix: the point (-1, 0) lives in 0.5375 of draws, (1 - 2^-2)² is 0.5625."""
    nodes: list[Node] = [
        ("Gemm", ["x", "w"], "z1"),
        ("Relu", ["z1"], "r1"),
        ("Gemm", ["r1", "w"], "z2"),
        ("Relu", ["z2"], "r2"),
        ("Gemm", ["r2", "w2"], "y"),
    ]
    found = read(nodes, {"w": (4, 4), "w2": (4, 2)}, {"x": [1, 4]}, "y")
    assert found.in_the_way == ("r2",)
    assert found.bounds.lower.alive == 0
    assert found.uncovered[0].reason.startswith("It has weights of 'r1'")


HALVES: list[Node] = [("Gemm", ["x", "w1"], "z1"), ("Relu", ["z1"], "r1")]
TWO: list[Node] = [*HALVES, ("Gemm", ["x", "w2"], "z2"), ("Relu", ["z2"], "r2")]


def ended(
    nodes: list[Node], alive: Callable[..., np.ndarray]
) -> tuple[list[Node], Callable[..., np.ndarray]]:
    return [*nodes, ("Gemm", [nodes[-1][2], "w3"], "y")], alive


def rectified(rng: np.random.Generator, x: np.ndarray, outputs: int) -> np.ndarray:
    """[networks, outputs] of [networks, inputs], by weights that are new for each network."""
    weights = rng.standard_normal((len(x), outputs, x.shape[1]))
    return np.maximum(np.einsum("noi,ni->no", weights, x), 0)


def around(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    """ReLU(z + v·ReLU(z)) of one neuron."""
    return np.maximum(z + rng.standard_normal(z.shape) * np.maximum(z, 0), 0)


DRAWN: dict[str, tuple[list[Node], Callable[..., np.ndarray]]] = {
    "a product of two": ended(
        [*TWO, ("Mul", ["r1", "r2"], "p")], lambda rng, x: rectified(rng, x, 2) * rectified(rng, x, 2)
    ),
    "the smaller of two": ended(
        [*TWO, ("Min", ["r1", "r2"], "p")],
        lambda rng, x: np.minimum(rectified(rng, x, 2), rectified(rng, x, 2)),
    ),
    "a layer that takes the first half": ended(
        [
            *HALVES,
            ("Slice", ["r1", "from", "to", "axis"], "s"),
            ("Gemm", ["s", "w4"], "z4"),
            ("Relu", ["z4"], "r4"),
        ],
        lambda rng, x: rectified(rng, rectified(rng, x, 2)[:, :1], 2),
    ),
    "a sum of which one part is made of the other": ended(
        [
            ("Gemm", ["x", "v1"], "z1"),
            ("Relu", ["z1"], "r1"),
            ("Gemm", ["r1", "v2"], "z2"),
            ("Add", ["z1", "z2"], "s"),
            ("Relu", ["s"], "r2"),
        ],
        lambda rng, x: around(rng, rng.standard_normal((len(x), 1))),
    ),
    "a rectified input": ended(
        [("Relu", ["x"], "r0"), ("Gemm", ["r0", "w1"], "z1"), ("Relu", ["z1"], "r1")],
        lambda rng, x: rectified(rng, np.maximum(x, 0), 2),
    ),
    "a threshold behind a skip": ended(
        [*HALVES, ("Gemm", ["r1", "w4"], "z4"), ("Add", ["z4", "r1"], "s"), ("ThresholdedRelu", ["s"], "t")],
        lambda rng, x: np.where(
            rectified(rng, x, 2) > 1, 1, 0
        ),  # at most so often: with weights of zero behind
    ),
}


@pytest.mark.parametrize("case", DRAWN)
def test_no_lower_bound_is_above_what_drawn_networks_do(case, read, monkeypatch):
    """The point (-0.1, -0.3) through 20,000 networks, whose share that lives is known to 0.01."""
    nodes, values = DRAWN[case]
    sizes = {"w1": (2, 2), "w2": (2, 2), "w4": (1, 2) if "half" in case else (2, 2)}
    sizes |= {"v1": (2, 1), "v2": (1, 1), "w3": (1 if "of the other" in case else 2, 2)}
    used = {operand for node in nodes for operand in node[1]}
    make_graph = helper.make_graph
    whole = [
        numpy_helper.from_array(np.array([at]), name) for name, at in (("from", 0), ("to", 1), ("axis", 1))
    ]
    monkeypatch.setattr(
        helper,
        "make_graph",
        lambda *given: make_graph(*given[:-1], [*given[-1], *whole[: 3 * ("from" in used)]]),
    )
    weights = {name: size for name, size in sizes.items() if name in used}
    found = read(nodes, weights, {"x": [1, 2]}, "y")
    drawn = values(np.random.default_rng(0), np.tile([-0.1, -0.3], (20_000, 1)))
    assert found.bounds.lower.alive <= drawn.any(axis=1).mean() + 0.01


@pytest.mark.shared
def test_a_detector_with_branches_lives_by_its_backbone(shared):
    found = nla.trainability(shared / "models/ultraface/version-RFB-320_simplified.onnx", in_process=True)
    assert (found.depth, len(found.layers)) == (15, 37)
    assert [found.layers[at].layer.name for at in found.thin] == ["247", "250"]
    assert found.bounds.lower.log2_dead == pytest.approx(-15, abs=1e-3)
    assert found.bounds.upper.log2_dead == -(16 * (9 + 1))  # the depthwise layer, whose weights are fewest


def test_the_sample_networks_and_their_documents():
    schema = __import__("json").loads((ROOT / "schemas/trainability-1.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in ("cnn_residual", "dying_relu", "gated_block", "lstm", "qdq_int8", "external_data"):
        found = nla.trainability(ROOT / f"sample_models/{name}/model.onnx", in_process=True, probability=0.9)
        jsonschema.validate(found.to_dict(), schema)
    jsonschema.validate(nla.trainability(widths=[4, 2], orthogonal=True).to_dict(), schema)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"width": 3},
        {"depth": 3},
        {"width": 3, "depth": 0},
        {"width": 0, "depth": 3},
        {"widths": [3], "depth": 2},
        {"widths": [3, 1.5]},
        {"widths": [3], "probability": 1.0},
        {"model": "m.onnx", "width": 3},
        {"widths": 16},
        {"widths": "16,8"},
        {"width": 3, "depth": 2, "probability": "0.5"},
        {"width": float("nan"), "depth": 2},
        {"width": 10**30, "depth": 2},
        {"model": "m.onnx", "probability": 0.0},
    ],
)
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(UsageError):
        nla.trainability(**given)


def test_numbers_of_numpy_are_numbers():
    found = nla.trainability(widths=np.array([16, 8]), probability=np.float32(0.5))
    assert found.bounds == nla.trainability(widths=[16, 8]).bounds
    assert found.width == nla.trainability(width=8, depth=2, probability=0.5).width


def test_a_model_without_layers_is_refused(read):
    with pytest.raises(ModelError, match="--width and --depth"):
        read([("Relu", ["x"], "y")], {}, {"x": [1, 4]}, "y")
