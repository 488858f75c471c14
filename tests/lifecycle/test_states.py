"""The states: hand-worked sites of a few neurons, every border of every definition, every φ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from measured import judged, measure, site

from nla.activations import Activation
from nla.lifecycle.criteria import Criteria
from nla.lifecycle.results import STATES
from nla.lifecycle.states import classify


def states(a: Any, where: Any, z: Any = None, **settings: Any) -> list[str]:
    return judged(a, where, z, **settings).states.tolist()


def test_one_relu_neuron_in_each_state() -> None:
    """dead: always 0; constant: always 2; dormant: mean 0.01 of a site whose mean is near 1; specialised: one
    sample of ten; active: the rest."""
    a = np.zeros((10, 5))
    a[:, 1] = 2.0
    a[::2, 2] = 0.02
    a[3, 3] = 9.0
    a[:, 4] = np.linspace(0.5, 1.5, 10)
    assert states(a, site(neurons=5)) == ["dead", "constant", "dormant", "specialised", "active"]


def test_negative_zero_is_zero() -> None:
    assert states([[-0.0, 1.0], [0.0, 2.0]], site(neurons=2)) == ["dead", "active"]


def test_the_smallest_firing_is_not_death() -> None:
    tiny = np.nextafter(0, 1)
    assert states([[0.0, 1.0], [tiny, 2.0]], site(neurons=2))[0] == "dormant"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_silence_broken_by_nonfinite_values_is_not_death(value: float) -> None:
    result = judged([[0.0, 1.0], [value, 2.0], [0.0, 3.0]], site(neurons=2))
    assert result.states.tolist() == ["dormant", "active"]
    assert result.flags[0] == ("nonfinite",)


def test_only_nonfinite_values_are_unknown() -> None:
    result = judged([[np.nan, 1.0], [np.inf, 2.0]], site(neurons=2))
    assert result.states.tolist() == ["unknown", "active"]
    assert np.isnan(result.columns["rate_upper_bound"][0])


def test_one_value_is_not_constant_but_two_equal_ones_are() -> None:
    assert states([[0.0, 2.0, 3.0]], site()) == ["dead", "active", "active"]
    assert states([[0.0, 2.0, 3.0], [0.0, 2.0, 1.0]], site()) == ["dead", "constant", "active"]


def test_constant_allows_roundings_and_no_more() -> None:
    one = np.float32(1000)
    a = np.array([[one, 1000.0, -5.0], [np.nextafter(one, 2000), 1000.1, -5.0]])
    assert states(a, site(phi="LeakyRelu")) == ["constant", "active", "constant"]


def test_a_whole_silent_site_is_dead_not_dormant() -> None:
    assert states(np.zeros((4, 3)), site()) == ["dead"] * 3


@pytest.mark.parametrize(
    ("phi", "a", "expected"),
    [
        ("Sigmoid", [0.001, 0.999], "saturated"),
        ("Sigmoid", [0.4, 0.6], "active"),
        ("Sigmoid", [0.9999, 0.9999], "constant"),
        ("Sigmoid", [1e-5, 3e-4], "dead"),
        ("Sigmoid", [1e-5, 5e-3], "saturated"),
        ("Softplus", [1e-5, 3e-4], "dead"),
        ("Tanh", [-0.999, 0.999], "saturated"),
        ("Tanh", [-1e-4, 1e-4], "active"),
        ("HardSigmoid", [0.0, 1.0], "saturated"),
        ("HardSigmoid", [0.0, 0.0], "dead"),
        ("Elu", [-0.999, -0.995], "saturated"),
        ("Elu", [-0.999, 0.3], "active"),
        ("HardSwish", [0.0, 0.0], "dead"),
        ("LeakyRelu", [-0.01, -0.02], "active"),
        ("Identity", [0.0, 0.0], "dead"),
        ("SwiGLU", [0.0, 0.0], "dead"),
        ("SwiGLU", [1e-5, -1e-5], "active"),
    ],
)
def test_one_neuron_alone_under(phi: str, a: list[float], expected: str) -> None:
    """A neuron alone has a dormancy score of 1, so that only its own values speak."""
    assert states(np.reshape(a, (2, 1)), site(neurons=1, phi=phi)) == [expected]


def test_relu6_saturates_above_and_dies_below() -> None:
    where = site(phi="Clip", phi_parameters={"min": 0, "max": 6})
    a = [[0.0, 6.0, 0.0]] + [[0.0, 6.0, 6.0]] * 199 + [[0.0, 5.0, 6.0]]
    assert states(a, where) == ["dead", "saturated", "saturated"]


def test_saturation_begins_at_the_stated_share() -> None:
    a = np.full((100, 2), 0.995)
    a[:1, 0] = a[:2, 1] = 0.5
    assert states(a, site(neurons=2, phi="Sigmoid")) == ["saturated", "active"]


@pytest.mark.parametrize("phi", ["Gelu", "Swish", "Mish"])
def test_gelu_and_its_kin_die_only_where_z_is_on_the_plateau(phi: str) -> None:
    """Three neurons with equally tiny a: z far below, z around zero, and a third that lives."""
    function = Activation.named(phi)
    z = np.array([[-12.0, 1e-4, 2.0], [-11.0, -1e-4, 3.0]])
    assert states(function.value(z), site(phi=phi), z) == ["dead", "dormant", "active"]


def test_without_z_gelu_is_not_called_dead_and_a_note_says_so() -> None:
    where = site(neurons=2, phi="Gelu")
    verdict = classify(where, measure([[-1e-5, 1.0], [-1e-6, 2.0]], where.activation), Criteria())
    assert verdict.states.tolist() == ["dormant", "active"]
    (note,) = verdict.notes
    assert "1 of 2 neurons" in note
    assert "--pre-activations" in note


def test_dormancy_is_inclusive_and_relative_to_the_site() -> None:
    """Mean |a| 0.5, 1 and 1.5, so that the scores are the same numbers exactly."""
    a = np.array([0.5, 1.0, 1.5]) * [[0.5], [1.5]]
    result = judged(a, site(), criteria=Criteria(dormancy_threshold=0.5))
    assert result.columns["dormancy_score"].tolist() == [0.5, 1.0, 1.5]
    assert result.states.tolist() == ["dormant", "active", "active"]
    below = Criteria(dormancy_threshold=np.nextafter(0.5, 0))
    assert states(a, site(), criteria=below) == ["active"] * 3


def test_a_wide_tolerance_does_not_make_a_sigmoid_dead_off_its_plateau() -> None:
    criteria = Criteria(dead_tolerance_abs=0.1)
    a = [[0.0009, 0.05], [0.0004, 0.04]]
    assert states(a, site(neurons=2, phi="Sigmoid"), criteria=criteria) == ["dead", "active"]


def test_nonfinite_values_are_not_constant() -> None:
    assert states([[2.0], [np.inf], [2.0]], site(neurons=1)) == ["active"]


def test_saturation_comes_before_dormancy_and_dormancy_before_specialisation() -> None:
    a = np.full((100, 3), 0.5)
    a[:, 0] = np.linspace(0.005, 0.006, 100)  # flat part of sigmoid, and small beside the others
    a[:, 1] = 0.012
    a[0, 1] = 0.4
    a[:, 2] = np.linspace(0.9, 0.98, 100)
    assert states(a, site(phi="Sigmoid")) == ["saturated", "specialised", "active"]
    dormant = judged(a, site(phi="Sigmoid"), criteria=Criteria(dormancy_threshold=0.1))
    assert dormant.states.tolist() == ["saturated", "dormant", "active"]


def test_labels_decide_specialisation_where_there_are_labels() -> None:
    """Neuron 0 fires exactly on label 1; neuron 1 fires on one sample only: sparse, but no label's."""
    a = np.zeros((200, 3))
    labels = np.arange(200) % 4
    a[:, 0] = labels == 1
    a[7, 1] = 9.0
    a[:, 2] = np.linspace(1, 2, 200)
    result = judged(a, site(), labels=labels.tolist())
    assert result.states.tolist() == ["specialised", "active", "active"]
    assert result.columns["decided_by"].tolist() == ["labels", "", ""]
    without = judged(a, site())
    assert without.states.tolist() == ["active", "specialised", "active"]
    assert without.columns["decided_by"].tolist() == ["", "sparseness", ""]


def test_one_label_tells_nothing_so_that_sparseness_decides() -> None:
    a = np.zeros((200, 2))
    a[7, 0] = 9.0
    a[:, 1] = np.linspace(1, 2, 200)
    result = judged(a, site(neurons=2), labels=[0] * 200)
    assert result.columns["decided_by"].tolist() == ["sparseness", ""]
    assert "mutual_information" not in result.columns


def test_unchanged_neurons_are_born_unless_a_worse_state_holds() -> None:
    a = np.zeros((10, 4))
    a[:, 1] = 2.0
    a[3, 2] = 9.0
    a[:, 3] = np.linspace(0.5, 1.5, 10)
    unchanged = {"relu": np.array([True, True, True, False])}
    assert states(a, site(neurons=4), unchanged=unchanged) == ["dead", "constant", "born", "active"]


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5)),
        elements=st.sampled_from([0.0, -0.0, 1e-9, 0.5, 1.0, 6.0, 100.0, np.nan, np.inf]),
    )
)
def test_every_neuron_has_one_state_and_only_silent_ones_are_dead(a: Any) -> None:
    result = judged(a, site(neurons=a.shape[2]))
    assert sum(result.counts.values()) == a.shape[2]
    assert set(result.states) <= set(STATES)
    np.testing.assert_array_equal(result.states == "dead", (a == 0).all((0, 1)))
    np.testing.assert_array_equal(result.states == "unknown", ~np.isfinite(a).any((0, 1)))
