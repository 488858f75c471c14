"""Constants are read through what exporters put between an initializer and its use."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from site_graphs import loaded, model

from nla.graph import query
from nla.graph.constants import Constants


def constants(body: str, **weights: np.ndarray) -> tuple[Constants, dict[str, ir.Value]]:
    graph = loaded(model("float[N,2] x => float[N,2] y", f"{body}\ny = Neg(x)", weights)).graph
    nodes = query.in_order(graph)
    values = {
        value.name: value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None
    }
    return Constants(graph, nodes), {str(name): value for name, value in values.items()}


W = np.arange(6, dtype=np.float32).reshape(2, 3)

EXPRESSIONS = {
    "Identity": ("c = Identity(w)", W),
    "Cast": ("c = Cast<to=11>(w)", W.astype(np.float64)),
    "Transpose": ("c = Transpose(w)", W.T),
    "Reshape": ("c = Reshape(w, shape)", W.reshape(3, 2)),
    "Squeeze": ("u = Unsqueeze(w, zero)\nc = Squeeze(u, zero)", W),
    "Concat": ("c = Concat<axis=0>(w, w)", np.concatenate([W, W])),
    "Slice": ("c = Slice(w, zero, one, one)", W[:, :1]),
    "Gather": ("c = Gather<axis=1>(w, one)", W[:, [1]]),
    "Mul": ("c = Mul(w, w)", W * W),
    "Constant": ("k = Constant<value_float=2.0>()\nc = Mul(w, k)", W * 2),
    "quantised and back": (
        "q = QuantizeLinear(w, scale, bottom)\nc = DequantizeLinear(q, scale, bottom)",
        W,
    ),
}
GIVEN = {
    **{"w": W, "shape": np.int64([3, -1]), "zero": np.int64([0]), "one": np.int64([1])},
    **{"scale": np.float32(0.5), "bottom": np.uint8(0)},
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_of_constants_are_evaluated(name: str) -> None:
    body, expected = EXPRESSIONS[name]
    found, values = constants(body, **GIVEN)
    np.testing.assert_allclose(found.array(values["c"]), expected)
    assert found.shape(values["c"]) == expected.shape


def test_dequantisation_per_axis_and_per_block() -> None:
    q = np.arange(8, dtype=np.int8).reshape(2, 4)
    body = "c = DequantizeLinear<axis=0>(q, rows)\nd = DequantizeLinear<axis=1, block_size=2>(q, blocks)"
    rows, blocks = np.float32([1, 10]), np.float32([[1, 2], [3, 4]])
    found, values = constants(body, q=q, rows=rows, blocks=blocks)
    np.testing.assert_allclose(found.array(values["c"]), q * rows[:, None])
    np.testing.assert_allclose(found.array(values["d"]), q * np.repeat(blocks, 2, 1))


def test_what_depends_on_an_input_or_on_chance_is_not_constant() -> None:
    found, values = constants(
        "c = Mul(x, w)\nr = RandomNormalLike(w)\ns = Add(r, w)", w=np.ones(2, np.float32)
    )
    assert not any(values[name] in found for name in ("x", "c", "r", "s"))
    assert values["w"] in found


def test_the_root_of_a_weight_is_the_stored_tensor_and_its_axes() -> None:
    found, values = constants("f = Cast<to=1>(w)\nt = Transpose<perm=[1,0]>(f)\ni = Identity(t)", w=W)
    root, axes = found.root(values["i"])
    assert (root.name, axes) == ("w", (1, 0))
    found, values = constants("r = Reshape(w, shape)", w=W, shape=np.int64([3, 2]))
    assert found.root(values["r"])[0].name == "r"


def test_scalars_are_constants_of_one_element() -> None:
    found, values = constants("a = Neg(k)\nb = Neg(w)", k=np.float32([[2.5]]), w=W)
    assert found.scalar(values["a"]) == -2.5
    assert found.scalar(values["w"]) is None


def test_scales_that_do_not_fit_are_not_evaluated() -> None:
    found, values = constants(
        "c = DequantizeLinear<axis=1>(q, s)", q=np.ones((2, 3), np.int8), s=np.ones(5, np.float32)
    )
    assert found.array(values["c"]) is None
