"""Sites of two runs are matched by name, else by order where all agrees, else refused."""

from __future__ import annotations

import pytest
from compared_runs import run, site

from nla.errors import UsageError
from nla.tracking.matching import bare, match

THREE, FOUR = ["active"] * 3, ["active"] * 4


def names(matching):
    return [(one.name, other.name) for one, other in matching.pairs]


def test_sites_of_one_name_are_one_site_whatever_their_order():
    matching = match(run("a", site("p", THREE), site("q", FOUR)), run("b", site("q", FOUR), site("p", THREE)))
    assert names(matching) == [("p", "p"), ("q", "q")]
    assert matching.notes == ()


@pytest.mark.parametrize(
    ("float_name", "quantised"),
    [
        ("/fc/Relu_output_0", "/fc/Relu_output_0_DequantizeLinear_Output"),
        ("a0", "a0_quantized_dequantized"),
        ("a0", "a0_dequantized"),
    ],
)
def test_the_dequantised_tensor_is_the_float_one(float_name, quantised):
    a, b = (
        run("a", site(float_name, THREE), site("q", THREE)),
        run("b", site("q", THREE), site(quantised, THREE)),
    )
    assert names(match(a, b)) == [(float_name, quantised), ("q", "q")]
    assert bare(quantised) == float_name


def test_a_name_that_is_nothing_but_an_ending_stays():
    assert bare("_dequantized") == "_dequantized"


def test_renamed_sites_are_matched_by_order_and_that_is_noted():
    a = run("a", site("p", THREE), site("q", FOUR), site("same", THREE))
    b = run("b", site("12", THREE), site("15", FOUR), site("same", THREE))
    matching = match(a, b)
    assert names(matching) == [("p", "12"), ("q", "15"), ("same", "same")]
    assert "2 of 3 sites" in matching.notes[0]
    assert "p is 12" in matching.notes[0]


def test_numbers_that_mean_other_layers_do_not_mislead():
    a = run("a", site("12", THREE), site("13", FOUR))
    b = run("b", site("13", THREE), site("14", FOUR))
    assert names(match(a, b)) == [("12", "13"), ("13", "14")]


def test_a_name_at_another_place_forbids_matching_by_order():
    a = run("a", site("p", THREE), site("q", THREE))
    b = run("b", site("x", THREE), site("p", THREE))
    with pytest.raises(UsageError, match="another architecture"):
        match(a, b)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (site("p", FOUR), r"site p \(dense Relu, 3 neurons\) of a is p \(dense Relu, 4 neurons\) in b"),
        (site("p", THREE, role="conv"), r"is p \(conv Relu, 3 neurons\)"),
        (site("p", THREE, activation="LeakyRelu"), r"is p \(dense LeakyRelu, 3 neurons\)"),
        (site("x", THREE, activation="LeakyRelu"), r"is x \(dense LeakyRelu, 3 neurons\)"),
        (site("x", THREE, activation="Identity"), r"is x \(dense, 3 neurons\)"),
    ],
)
def test_another_width_role_or_activation_is_refused_by_its_name(other, said):
    with pytest.raises(UsageError, match=said) as refused:
        match(run("a", site("q", THREE), site("p", THREE)), run("b", site("q", THREE), other))
    assert "\n" not in str(refused.value)
    assert "nla compare" in str(refused.value)
    assert "--common-only" in str(refused.value)


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_a_site_in_one_run_only_is_refused_or_left_out(first, second):
    short, long = run("a", site("p", THREE)), run("b", site("p", THREE), site("more", FOUR))
    pair = {"a": short, "b": long}
    with pytest.raises(UsageError, match=r"site more \(dense Relu, 4 neurons\) of b has no counterpart in a"):
        match(pair[first], pair[second])
    matching = match(pair[first], pair[second], common_only=True)
    assert names(matching) == [("p", "p")]
    assert matching.notes == ("left out: site more (dense Relu, 4 neurons) of b has no counterpart in a",)


def test_runs_without_a_common_site_are_refused_even_then():
    with pytest.raises(UsageError, match="no site of a fits one of b"):
        match(run("a", site("p", THREE)), run("b", site("q", FOUR)), common_only=True)
    with pytest.raises(UsageError, match="no site"):
        match(run("a"), run("b"))


def test_a_clip_is_the_cut_of_a_quantisation_and_of_nothing_else():
    clip = run("a", site("a0", THREE, activation="Clip"))
    assert match(clip, run("b", site("a0_DequantizeLinear_Output", THREE))).pairs
    with pytest.raises(UsageError, match="another architecture"):
        match(clip, run("b", site("a0", THREE)))


def test_control_characters_of_a_name_do_not_reach_the_message():
    with pytest.raises(UsageError) as refused:
        match(run("a", site("p\n\x1b[2J", THREE)), run("b", site("q", FOUR)))
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
