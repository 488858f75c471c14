"""The evidence: hand-worked numbers, borders, and the published reference of the dying-ReLU network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import FILES, judged, measure, network, site

from nla.lifecycle.criteria import Criteria
from nla.lifecycle.evidence import parameters_dead, starved
from nla.lifecycle.inspection import judge
from nla.lifecycle.results import SiteResult
from nla.lifecycle.table import EVIDENCE
from nla.site import Consumer, Producer, Site


def column(a: Any, where: Site, name: str, z: Any = None, **settings: Any) -> Any:
    return judged(a, where, z, **settings).columns[name]


def test_rates_and_moments_of_three_neurons() -> None:
    a = [[0.0, 1.0, 0.0005], [0.0, 3.0, 0.0], [0.0, 2.0, 4.0], [0.0, 2.0, 0.0]]
    columns = judged(a, site()).columns
    expected = {
        "activation_rate": [0, 1, 0.5],
        "firing_frequency": [0, 1, 0.25],
        "mean_abs": [0, 2, 4.0005 / 4],
        "max": [0, 3, 4],
        "std": [0, np.sqrt(0.5), np.std([0.0005, 0, 4, 0])],
        "dormancy_score": np.array([0, 2, 4.0005 / 4]) / ((2 + 4.0005 / 4) / 3),
        "samples": [4, 4, 4],
        "positions": [4, 4, 4],
        "fired_samples": [0, 4, 2],
        "rate_upper_bound": [1 - 0.05**0.25, 1, 0.9023885366],  # 2 of 4, one-sided 95 %: Beta(3, 2)
    }
    for name, values in expected.items():
        np.testing.assert_allclose(columns[name], values, rtol=1e-9, err_msg=name)


def test_columns_stand_in_the_order_of_the_contract() -> None:
    labels = [0, 1, 0, 1]
    where = site(phi="Sigmoid", out_norm=np.ones(3))
    names = list(judged(np.full((4, 3), 0.5), where, labels=labels, held_out=np.ones((2, 3))).columns)
    optional = ["saturated_share", "mutual_information", "p_value", "held_out_fired"]
    further = ["mutual_information_corrected", "q_value", "selectivity", "labels_answered"]
    always = ["lifetime_sparseness", "nonfinite", "decided_by"]
    assert names == [*EVIDENCE, *optional, *further, *always]
    assert names[:3] == ["activation_rate", "firing_frequency", "mean"]
    assert names[12:14] == ["rate_upper_bound", "margin"]


def test_a_neuron_that_fires_on_one_pixel_of_each_sample_is_not_rare() -> None:
    a = np.zeros((50, 16, 1))
    a[:, 5] = 1.0
    columns = judged(a, site(neurons=1)).columns
    assert columns["activation_rate"][0] == 1 / 16
    assert columns["fired_samples"][0] == 50
    assert columns["rate_upper_bound"][0] == 1


def test_confidence_is_counted_in_samples_not_positions() -> None:
    bound = column(np.zeros((10, 1000, 1)), site(neurons=1), "rate_upper_bound")
    assert bound[0] == pytest.approx(1 - 0.05**0.1)


def test_contribution_score_survives_rescaling_where_dormancy_does_not() -> None:
    a = np.abs(np.random.default_rng(0).normal(size=(20, 3)))
    norms = np.array([1.0, 2.0, 3.0])
    first, second = (site(out_norm=norms / [scale, 1, 1]) for scale in (1, 8))
    one = judged(a, first).columns
    other = judged(a * [8, 1, 1], second).columns
    np.testing.assert_allclose(one["contribution_score"], other["contribution_score"])
    assert abs(one["dormancy_score"][0] - other["dormancy_score"][0]) > 0.5


def test_scores_average_to_one_and_are_zero_for_a_silent_site() -> None:
    a = np.abs(np.random.default_rng(0).normal(size=(20, 3)))
    assert column(a, site(), "dormancy_score").mean() == pytest.approx(1)
    np.testing.assert_array_equal(column(a * 0, site(out_norm=np.ones(3)), "contribution_score"), 0)
    assert np.isnan(column(a, site(), "contribution_score")).all()


def test_margin_is_the_distance_from_waking_in_deviations() -> None:
    """z = -3, -1 (sd 1, max -1): 1; constant -2: inf; constant 0: 0; awake: negative; not observed: NaN."""
    z = np.array([[-3.0, -2.0, 0.0, 1.0], [-1.0, -2.0, 0.0, 3.0]])
    margins = column(np.maximum(z, 0), site(neurons=4), "margin", z)
    np.testing.assert_array_equal(margins, [1, np.inf, 0, -3])
    assert not np.signbit(margins[2])
    assert np.isnan(column(np.maximum(z, 0), site(neurons=4), "margin")).all()


def test_thresholded_relu_that_never_passes_its_threshold_has_not_fired() -> None:
    where = site(neurons=2, phi="ThresholdedRelu")
    result = judged([[0.0, 2.0], [0.0, 3.0]], where, [[0.5, 2.0], [0.9, 3.0]])
    assert result.states.tolist() == ["dead", "active"]
    assert result.columns["fired_samples"].tolist() == [0, 2]
    assert result.columns["rate_upper_bound"][0] == pytest.approx(1 - 0.05**0.5)


def test_held_out_tells_which_of_the_dead_wake() -> None:
    result = judged([[0.0, 0.0, 1.0]] * 4, site(), held_out=[[0.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
    assert result.columns["held_out_fired"].tolist() == [0, 1, 2]
    assert result.counts["dead"] == 2


def test_joint_bound_is_over_all_neurons_of_the_site_and_absent_where_none_is_dead() -> None:
    silent = judged([[0.0, 1.0, 2.0], [0.0, 2.0, 1.0]], site())
    assert silent.joint_rate_upper_bound == pytest.approx(1 - (0.05 / 3) ** 0.5)
    assert np.isnan(judged([[1.0, 1.0, 2.0], [2.0, 2.0, 1.0]], site()).joint_rate_upper_bound)


def test_joint_bound_of_a_network_is_over_the_neurons_of_all_sites() -> None:
    """5 neurons, one dead in 4 samples: 1 - (0.05 / 5)^(1/4)."""
    a = np.arange(1.0, 13.0).reshape(4, 3)
    inspection = network((site("a", 3), a), (site("b", 2), a[:, :2] * [0, 1]))
    assert inspection.joint_rate_upper_bound == pytest.approx(1 - 0.01**0.25)


def test_effective_capacity_is_the_product_as_printed() -> None:
    where = site(neurons=4)
    measurements = measure([[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 2.0, 1.0]], where.activation, effective_rank=1.8)
    result = judge([where], {"relu": measurements}, None, Criteria(), **FILES)["relu"]
    assert (result.dead_share, result.effective_rank) == (0.5, 1.8)
    assert result.effective_capacity == pytest.approx(0.9)


# Flags


def test_linear_is_a_relu_that_is_never_off() -> None:
    result = judged([[1.0, 0.0, 2.0], [2.0, 1.0, 2.0]], site())
    assert result.flags == (("linear",), (), ())  # the third is constant
    assert judged([[1.0], [2.0]], site(neurons=1, phi="Gelu")).flags == ((),)
    relu6 = site(neurons=2, phi="Clip", phi_parameters={"min": 0, "max": 6})
    assert judged([[1.0, 1.0], [2.0, 6.0]], relu6).flags == (("linear",), ())


def test_near_dead_on_either_side_of_the_border() -> None:
    z = np.array([[-2.1, -9.0, -2.0, 1.0], [-0.1, -7.0, 0.2, 3.0]])  # sd 1, 1, 1.1, 1
    result = judged(np.maximum(z, 0), site(neurons=4), z)
    assert [("near_dead" in flags) for flags in result.flags] == [True, False, True, False]
    assert result.counts["dead"] == 2
    hard = judged(np.maximum(z, 0), site(neurons=4, phi="HardSwish"), z)
    assert not any("near_dead" in flags for flags in hard.flags)  # it dies at -3, not at 0


def test_polysemantic_is_selective_for_several_labels() -> None:
    labels = np.arange(400) % 4
    a = np.zeros((400, 3))
    a[:, 0] = labels == 1
    a[:, 1] = labels < 2
    a[:, 2] = np.linspace(1, 2, 400)
    result = judged(a, site(), labels=labels.tolist())
    assert [("polysemantic" in flags) for flags in result.flags] == [False, True, False]
    assert result.columns["labels_answered"].tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("groups", "dead", "expected"),
    [
        (1, [0, 1], [False] * 4),
        (1, [0, 1, 2, 3], [True] * 4),
        (2, [0, 1], [True, True, False, False]),
        (2, [0, 2], [False] * 4),
        (4, [0, 2], [True, False, True, False]),
        (3, [0, 1], [False] * 4),
    ],
)
def test_starved_neurons_honour_groups(groups: int, dead: list[int], expected: list[bool]) -> None:
    before = np.array(["active"] * 4, "U11")
    before[dead] = "dead"
    before[dead[0]] = "constant"
    where = site("conv", 4, producers=(Producer("n", "Conv", "w", groups=groups),), upstream=("relu",))
    assert starved(where, {"relu": before}).tolist() == expected


def test_starved_is_not_claimed_where_it_is_not_known() -> None:
    dead = {"relu": np.array(["dead"] * 4)}
    producer = Producer("n", "Conv", "w", groups=2)
    whole = site("conv", 4, producers=(producer,), upstream=("relu",))
    assert starved(whole, dead).all()
    assert not starved(replace(whole, upstream=None), dead).any()
    assert not starved(replace(whole, upstream=("relu", "elsewhere")), dead).any()
    assert not starved(replace(whole, producers=()), dead).any()
    assert not starved(replace(whole, producers=(replace(producer, channel_offset=2),)), dead).any()


# Parameters


def chain(widths: list[int], inputs: int, outputs: int) -> list[Site]:
    """Dense layers, each feeding the next."""
    sizes = [inputs, *widths, outputs]
    return [
        site(
            f"relu{k}",
            width,
            parameters_in=sizes[k] + 1,
            producers=(Producer(f"fc{k}", "Gemm", f"w{k}"),),
            consumers=(
                Consumer(
                    f"fc{k + 1}",
                    "Gemm",
                    f"w{k + 1}",
                    site=f"relu{k + 1}" if k + 1 < len(widths) else None,
                    parameters_per_neuron=sizes[k + 2],
                ),
            ),
        )
        for k, width in enumerate(widths)
    ]


def test_parameters_of_the_dead_equal_those_that_exact_removal_frees() -> None:
    """Dying-ReLU reference: without its 72, 40, 71, 68 and 162 dead, 278,229 of 466,698 parameters remain."""
    dead = [72, 40, 71, 68, 162]
    sites = chain([256] * 5, 784, 10)
    states = {
        s.name: np.array(["dead"] * d + ["active"] * (256 - d)) for s, d in zip(sites, dead, strict=True)
    }
    by_name = {s.name: s for s in sites}
    freed = [parameters_dead(s, by_name, states) for s in sites]
    assert sum(freed) == 466_698 - 278_229


def test_depthwise_weights_are_counted_with_the_channel_that_they_serve() -> None:
    """Three channels, each read by one 3x3 filter; channel 0 is dead on both sides, channel 1 only before."""
    consumer = Consumer("dw", "Conv", "w1", site="second", parameters_per_neuron=9)
    first = site("first", 3, parameters_in=10, consumers=(consumer,))
    second = site("second", 3, parameters_in=10, producers=(Producer("dw", "Conv", "w1", groups=3),))
    states = {"first": np.array(["dead", "dead", "active"]), "second": np.array(["dead", "active", "active"])}
    sites = {"first": first, "second": second}
    assert parameters_dead(first, sites, states) == 20 + 9
    assert parameters_dead(second, sites, states) == 10


def test_reference_of_the_dying_relu_network(shared: Path) -> None:
    """All 1,280 neurons, judged from the float64 oracle's counts, extremes and moments."""
    reference = np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz")
    sites = chain([256] * 5, 784, 10)
    counts, top, low = (
        reference["fire_count"],
        np.maximum(reference["max_z"], 0),
        np.maximum(reference["min_z"], 0),
    )
    measurements = {}
    for k, where in enumerate(sites):
        plain = measure(np.zeros((2, 256)), where.activation)
        measurements[where.name] = replace(
            plain,
            samples=10_000,
            positions=10_000,
            counted=np.full(256, 10_000),
            positive=counts[k],
            fired_samples=counts[k],
            fired=np.rint(reference["freq_0001"][k] * 10_000).astype(int),
            mean=reference["mean_abs"][k],
            mean_abs=reference["mean_abs"][k],
            std=np.sqrt(reference["var_a"][k]),
            min=low[k],
            max=top[k],
            pre_max=reference["max_z"][k],
            pre_std=np.sqrt(reference["var_z"][k]),
            effective_rank=float(reference["erank"][k]),
        )
    result = judge(sites, measurements, None, Criteria(), **FILES)
    assert [r.counts["dead"] for r in result.sites] == [72, 40, 71, 68, 162]
    assert [r.counts["dormant"] for r in result.sites] == [27, 35, 75, 99, 52]
    capacity = [r.effective_capacity for r in result.sites]
    np.testing.assert_allclose(capacity, [74.82, 78.15, 27.60, 16.62, 5.31], atol=0.01)
    for k, r in enumerate(result.sites):
        np.testing.assert_allclose(r.columns["dormancy_score"], reference["dormancy"][k], rtol=1e-12)
        assert_bounds(r)
    assert result.findings[0].symptom == "a large share of dead neurons"


def assert_bounds(result: SiteResult) -> None:
    dead = result.states == "dead"
    np.testing.assert_allclose(result.columns["rate_upper_bound"][dead], 1 - 0.05 ** (1 / 10_000))
    assert (result.columns["margin"][dead] >= 0).all()


def test_living_data_of_a_chain() -> None:
    first, second = site("first", 2), site("second", 2, bottleneck=True)
    m1 = measure([[1.0, 0.0], [0.0, 0.0], [2.0, 1.0]], first.activation, killed_samples=1)
    m2 = measure(np.zeros((3, 2)), second.activation, killed_samples=2)
    living = judge([first, second], {"first": m1, "second": m2}, None, Criteria(), **FILES).living
    assert living == {
        "killed_samples": {"first": 1, "second": 2},
        "living_samples": 0,
        "dead_layers": ["second"],
        "network_dead": True,
    }


def test_an_inspection_without_sites() -> None:
    empty = network()
    assert empty.summary["neurons"] == 0
    assert empty.findings == ()
    assert np.isnan(empty.joint_rate_upper_bound)
