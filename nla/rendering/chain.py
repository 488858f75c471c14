"""The transition matrix of a series and what it says of survival, as text."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from nla.lifecycle.results import STATES
from nla.rendering.step_table import (
    columns,
    percents,
    plain_cell,
    room_for_steps,
    ruled_table,
    short_state,
    step_table,
)
from nla.rendering.words import count, counted, hanging, percent, short
from nla.theory.intervals import CONFIDENCE
from nla.tracking.assumptions import Verdict
from nla.tracking.results import Tracking

_TINY = 1e-15
_SURPRISING = 0.01
"""A p-value below which an assumption is said not to hold."""


def print_transitions(out: Console, tracking: Tracking) -> None:
    found = tracking.transitions
    present = [k for k in range(len(STATES)) if found.counts[k].sum() or found.counts[:, k].sum()]
    table = ruled_table("from, to:")
    for k in present:
        table.add_column(short_state(STATES[k]), justify="right", no_wrap=True)
    table.add_column("transitions", justify="right", no_wrap=True)
    matrix = found.matrix
    for k in present:
        cells = [plain_cell(float(matrix[k, j])) for j in present]
        for cell, j in zip(cells, present, strict=True):
            cell.stylize("head" if j == k else "")
        table.add_row(Text(STATES[k], STATES[k]), *cells, count(int(found.counts[k].sum())))
    intervals = counted(len(tracking.steps) - 1, "interval")
    out.print(f"\nTransitions between steps, percent of each row, over {intervals}", style="head")
    out.print(table)
    for sentence in _about_matrix(tracking):
        out.print(Text(hanging(sentence, out.width, "", "")))


def _about_matrix(tracking: Tracking) -> Iterator[str]:
    found, dead = tracking.transitions, STATES.index("dead")
    number = int(found.counts[dead].sum())
    if number:
        woke = 1 - found.matrix[dead, dead]
        lower, upper = found.bounds()
        span = f"{percents(1 - float(upper[dead, dead]))} to {percents(1 - float(lower[dead, dead]))}"
        yield (
            f"Of {counted(number, 'time')} that a neuron was dead, it was so no more one step later in "
            f"{percent(float(woke))} ({percent(CONFIDENCE)} interval: {span} %)."
        )
    tests = tracking.assumptions
    if tests is not None and (tests.same_throughout.degrees or tests.memoryless.degrees):
        labels = [step.label for step in tracking.steps]
        yield _tested(
            tests.same_throughout,
            f"One matrix for the whole series, before and after {short(labels[tests.split], 30)}?",
            "it changes on the way",
        )
        yield _tested(
            tests.memoryless,
            "Does the next state depend on the present one alone?",
            "the past tells more, and curves made of the matrix are rough",
        )


def _tested(test: Verdict, question: str, refuted: str) -> str:
    if not test.degrees:
        return f"{question} There is too little to tell."
    fact = f"G = {test.statistic:.4g} with {counted(test.degrees, 'degree')} of freedom, {_p(test.p_value)}"
    return f"{question} {'No: ' + refuted if test.p_value < _SURPRISING else 'Nothing speaks against it'} ({fact})."


def _p(value: float) -> str:
    return f"p < {_TINY:g}" if value < _TINY else f"p = {value:.2g}"


def print_survival(out: Console, tracking: Tracking) -> None:
    seen = tracking.survival
    if seen.never_dead[-1] == 1:
        return
    curves = {
        "seen: not dead": seen.alive,
        "seen: never dead so far": seen.never_dead,
        "Markov: not dead": seen.markov,
        "Markov: never dead": seen.absorbing,
        "eq. 17 as printed: active": seen.printed,
    }
    shown = columns(tracking.steps, room_for_steps(list(curves), out.width))
    out.print("\nSurvival, percent of neurons", style="head")
    values = [[float(value) for value in curve] for curve in curves.values()]
    out.print(step_table(shown, list(curves), values, out.width, plain_cell, heading="curve"))
    for sentence in _about_survival(tracking):
        out.print(Text(hanging(sentence, out.width, "", "")))


def _about_survival(tracking: Tracking) -> Iterator[str]:
    seen = tracking.survival
    where = tracking.at(seen.half_life)
    step = "" if math.isnan(where) else f" (training step {where:,.4g})"
    yield (
        f"Half-life of the never dead: {_intervals(seen.half_life, 'not reached in the series')}{step} as seen, "
        f"{_intervals(seen.half_life_markov, 'never')} by the Markov chain."
    )
    finite = {state: value for state, value in seen.life.items() if math.isfinite(value)}
    if finite:
        listed = ", ".join(f"{state} {value:.3g}" for state, value in finite.items())
        yield f"Intervals until death expected by the Markov chain: {listed}."


def _intervals(number: float, never: str) -> str:
    return never if math.isnan(number) else f"{number:.3g} interval{'' if number == 1 else 's'}"
