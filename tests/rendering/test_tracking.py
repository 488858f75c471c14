"""A series as text: what stands in it, what is left out and said to be, and that it fits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from series import run, series, site

from nla.rendering.step_table import headings_of
from nla.rendering.terminal import console
from nla.rendering.tracking import print_tracking
from nla.tracking.results import Step, Tracking, tracked


def text(tracking: Tracking, width: int = 100) -> str:
    out = io.StringIO()
    print_tracking(tracking, console(out, width))
    return out.getvalue()


def drawn(steps: int, names: tuple[str, ...] = ("/act.0/Relu",), letters: str = "ddaaos") -> Tracking:
    generator = np.random.default_rng(0)
    return tracked(
        series(
            *({name: "".join(generator.choice(list(letters), 40)) for name in names} for _ in range(steps))
        ),
        False,
    )


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("steps", [2, 3, 13, 60])
def test_every_line_fits_whatever_the_number_of_steps(steps: int, width: int) -> None:
    names = tuple(f"/model/layers.{k}/mlp/act_fn/Relu_output_0" for k in range(3))
    written = text(drawn(steps, names), width)
    assert max(map(len, written.splitlines())) <= width
    for title in (
        "Dead neurons",
        "States over time",
        "Transitions",
        "Survival",
        "Deaths and revivals",
        "Notes",
    ):
        assert title in written


def test_thinned_steps_are_said_to_be() -> None:
    assert "of 60 steps, evenly spread" in text(drawn(60))
    assert "evenly spread" not in text(drawn(13))


def test_shares_are_those_of_the_counts() -> None:
    written = text(tracked(series({"relu": "aaad"}, {"relu": "addd"}), False))
    row = next(line for line in written.splitlines() if line.startswith("relu (4)"))
    assert row.split()[2:] == ["25.0", "75.0"]
    transitions = next(line for line in written.splitlines() if line.startswith("active "))
    assert transitions.split()[1:] == ["66.7", "33.3", "3"]


def test_a_series_without_deaths_says_so_and_prints_no_empty_tables() -> None:
    written = text(tracked(series({"relu": "aas"}, {"relu": "asa"}, {"relu": "aas"}), False))
    assert "No neuron is dead at any step." in written
    for title in ("Survival", "Deaths and revivals", "Dead neurons"):
        assert title not in written


def test_where_nothing_is_zero_the_count_of_the_study_is_shown_beside() -> None:
    leaky = [site("leaky", "aa", activation="LeakyRelu", rates=rates) for rates in ([0.5, 0.5], [0, 0.5])]
    written = text(tracked([run("e0", leaky[0]), run("e1", leaky[1])], False))
    assert "z > 0 at no position" in written
    row = next(line for line in written.splitlines() if line.startswith("leaky (2)"))
    assert row.split()[2:] == ["0", "50.0"]


def test_names_from_files_are_escaped() -> None:
    bad = "relu\x1b[31m\u202e"
    tracking = tracked(
        [run(f"{bad}{k}", site(bad, letters)) for k, letters in enumerate(("ad", "da"))], False
    )
    written = text(tracking)
    assert "\x1b" not in written
    assert "\u202e" not in written


def test_synthetic_data_is_called_that() -> None:
    runs = [run(f"e{k}", site("relu", "ad"), synthetic=True) for k in range(2)]
    assert "SYNTHETIC DATA" in text(tracked(runs, False))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((0, 1, 12), ["0", "1", "12"]),
        ((86881, 499147, 500147), ["86.9k", "499k", "500k"]),
        ((499147, 499200, 5_499_980), ["499147", "499200", "5499980"]),
        ((7168, 8960, None), ["7168", "8960", "#3"]),
        ((None, None, None), ["run0", "run1", "run2"]),
        ((1, 1, 2), ["run0", "run1", "run2"]),
        ((2_000_000_000, 3_500_000_000, 0), ["2G", "3.5G", "0"]),
    ],
)
def test_steps_have_short_names_that_tell_them_apart(
    steps: tuple[int | None, ...], expected: list[str]
) -> None:
    made = [Step(f"run{k}", step, {}, {}, ()) for k, step in enumerate(steps)]
    assert headings_of(made) == expected


def test_labels_that_cannot_be_told_apart_give_way_to_places() -> None:
    made = [
        Step(f"checkpoint-{name}-of-the-run", None, {}, {}, ()) for name in ("aaaaaaaaaaaa1", "aaaaaaaaaaaa2")
    ]
    names = headings_of(made)
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 9
