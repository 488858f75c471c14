"""Nonlinear steps between layers that are no known activation are listed; what is affine, masks or gates is not."""

from __future__ import annotations

import numpy as np
import pytest
from site_graphs import find, model

ROWS = "float[N,5] x => float[P,Q] y"
WEIGHTS = {"w": (5, 4), "v": (4, 3), "w2": (5, 4), "half": np.float32(0.5), "two": np.float32(2)}
BENT = {
    "sine": ("a = Sin(z)", "a"),
    "exponential of a square": ("s = Mul(z, z)\nn = Neg(s)\na = Exp(n)", "s"),
    "hard shrink": ("b = Abs(z)\nc = Greater(b, half)\na = Where(c, z, half)", "b"),
    "soft shrink": ("s = Sign(z)\nt = Mul(s, half)\na = Sub(z, t)", "s"),
    "maxout": ("u = Gemm(x, w2)\na = Max(z, u)", "a"),
    "product of two layers": ("u = Gemm(x, w2)\na = Mul(z, u)", "a"),
    "step": ("c = Greater(z, half)\nf = Cast<to=1>(c)\na = Mul(f, two)", "c"),
    "cube": ("p = Sum(half, two, half)\na = Pow(z, p)", "a"),
}
STRAIGHT = {
    "scaled": "s = Mul(z, two)\nt = Div(s, half)\na = Add(t, half)",
    "negative": "a = Neg(z)",
    "masked": "m = Greater(x5, half)\na = Where(m, z, half)",
    "scaled by data": "a = Mul(z, s1)",
    "first power": "a = Pow(z, one)",
}
COMPOSED = {
    "log of a sigmoid": ("s = Sigmoid(z)\na = Log(s)", "s"),
    "tanh taken from its input": ("t = Tanh(z)\na = Sub(z, t)", "t"),
    "an unknown variant of a GELU": ("c = Mul(z, half)\nt = Tanh(c)\nu = Add(t, half)\na = Mul(z, u)", "t"),
    "a rectifier added to its input": ("r = Relu(z)\na = Add(r, z)", "r"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_nonlinear_step_between_layers_is_listed_once_at_its_first_node(name: str) -> None:
    steps, listed = BENT[name]
    sites, left_alone = find(model(ROWS, f"z = Gemm(x, w)\n{steps}\ny = Gemm(a, v)", WEIGHTS))
    assert not sites
    assert list(left_alone) == [listed]
    assert "not linear" in left_alone[listed].reason


@pytest.mark.parametrize("name", STRAIGHT)
def test_affine_steps_and_masks_are_not_listed(name: str) -> None:
    head = "float[N,5] x, float[N,4] x5, float[N,1] s1 => float[P,Q] y"
    body = f"z = Gemm(x, w)\n{STRAIGHT[name]}\nb = Relu(a)\ny = Gemm(b, v)"
    sites, left_alone = find(model(head, body, {**WEIGHTS, "one": np.float32(1)}))
    assert list(sites) == ["b"]
    assert not left_alone


@pytest.mark.parametrize("name", COMPOSED)
def test_a_part_of_an_unknown_form_is_listed_and_no_site(name: str) -> None:
    steps, listed = COMPOSED[name]
    sites, left_alone = find(model(ROWS, f"z = Gemm(x, w)\n{steps}\ny = Gemm(a, v)", WEIGHTS))
    assert not sites
    assert list(left_alone) == [listed]
    assert "together are no activation" in left_alone[listed].reason


@pytest.mark.parametrize("steps", ["a = Mul(r, r)", "a = Pow(r, two)", "a = Mul(r, z)", "a = Sqrt(r)"])
def test_what_is_bent_after_a_rectifier_leaves_the_rectifier_a_site(steps: str) -> None:
    """Zero stays zero: a dead Relu is dead after its square too."""
    sites, left_alone = find(model(ROWS, f"z = Gemm(x, w)\nr = Relu(z)\n{steps}\ny = Gemm(a, v)", WEIGHTS))
    assert list(sites) == ["r"]
    assert not left_alone


def test_an_activation_after_a_bent_step_is_a_site_and_the_step_needs_no_listing() -> None:
    sites, left_alone = find(model(ROWS, "z = Gemm(x, w)\nb = Abs(z)\na = Relu(b)\ny = Gemm(a, v)", WEIGHTS))
    assert list(sites) == ["a"]
    assert not left_alone


def test_a_gate_on_a_layer_is_no_bent_step() -> None:
    """relu(h)·t + x·(1 - t), a highway layer: products with activations that were found."""
    body = (
        "h = Gemm(x, w)\nr = Relu(h)\nu = Gemm(x, w2)\nt = Sigmoid(u)\np = Mul(r, t)\n"
        "c = Sub(two, t)\nq = Mul(k, c)\na = Add(p, q)\ny = Gemm(a, v)"
    )
    sites, left_alone = find(model("float[N,5] x, float[N,4] k => float[P,Q] y", body, WEIGHTS))
    assert list(sites) == ["r", "t"]
    assert not left_alone


def test_a_normalisation_written_out_is_no_bent_step() -> None:
    body = (
        "z = Gemm(x, w)\nm = ReduceMean(z, last)\nc = Sub(z, m)\ns = Pow(c, two)\nq = ReduceMean(s, last)\n"
        "e = Add(q, half)\nr = Sqrt(e)\na = Div(c, r)\ny = Gemm(a, v)"
    )
    sites, left_alone = find(model(ROWS, body, {**WEIGHTS, "last": np.int64([-1])}))
    assert not sites
    assert not left_alone
