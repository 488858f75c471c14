"""Every kind of figure: valid, complete in words, equal to plain numpy on the run, and not empty once drawn."""

from __future__ import annotations

import json
import math
import re
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
from drawn_runs import SAMPLES, histogram, run, series, site

from nla.errors import UsageError
from nla.figures.registry import KINDS, kind
from nla.figures.saving import rendered
from nla.figures.theme import DARK, LIGHT, STATE_COLOURS
from nla.lifecycle.results import STATES
from nla.runs.run import Rows

ONE, SEVERAL = run(), series()
HOSTILE = (
    "{{x}}",
    "a.b[0]:Q",
    "datum.share' || alert(1) || '",
    '</script><script>alert(1)</script>"',
    "\x1b[31mred\n\u202e",
    "",
)


@cache
def figure(name):
    return KINDS[name].make(SEVERAL if KINDS[name].several else [ONE])


def drawn_texts(svg):
    """All text of an SVG, unescaped as far as names need it."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in found]


def numbers_of(value):
    """Every number in a specification."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from numbers_of(each)
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize("name", KINDS)
def test_a_figure_says_in_words_what_it_shows(name):
    made = figure(name)
    assert (made.kind, made.several) == (name, KINDS[name].several)
    assert made.alternative.startswith(made.title)
    assert made.alternative.endswith(".")
    assert re.search(r"\d", made.alternative)
    assert made.caption.endswith(".")
    assert made.table.rows
    assert all(len(row) == len(made.table.columns) for row in made.table.rows)


@pytest.mark.parametrize("name", KINDS)
def test_a_specification_is_valid_strict_json_without_addresses_and_its_theme_is_all_in_config(name):
    made = figure(name)
    light, dark = made.spec(LIGHT), made.spec(DARK)
    text = json.dumps(light, allow_nan=False)
    assert all(map(math.isfinite, numbers_of(light)))
    assert "http" not in text.replace(light["$schema"], "")
    assert light["description"] == made.alternative
    bare = {key: value for key, value in light.items() if key != "datasets"}
    alt.Chart.from_dict(bare)  # validates against the schema of Vega-Lite
    assert {**light, "config": 0} == {**dark, "config": 0}
    assert light["config"] != dark["config"]
    assert "title" not in made.spec(title=False)


@pytest.mark.parametrize("name", KINDS)
def test_a_drawn_figure_has_marks_titled_axes_and_a_description_and_the_size_asked_for(name):
    made = figure(name)
    svg = rendered(made, "svg", width=640, height=430).decode()
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', svg)
    assert [float(part) for part in size.groups()] == pytest.approx([640, 430], abs=3)
    marks = re.findall(r'class="mark-(?:rect|line|symbol|area|rule) role-mark.*?</g>', svg, flags=re.DOTALL)
    assert sum(mark.count("<path") + mark.count("<line") for mark in marks) >= 3
    texts = drawn_texts(svg)
    assert made.title in texts
    titled = re.findall(r"role-axis-title.*?<text[^>]*>([^<]+)</text>", svg)
    assert len(titled) >= 2
    assert 'role="graphics-' in svg
    assert "aria-label=" in svg
    assert "NaN" not in svg


def test_dead_shares_are_those_of_the_states():
    rows = figure("dead-share").datasets["sites"]
    expected = [100 * np.mean(s.rows.states == "dead") for s in ONE.sites]
    assert [row["share"] for row in rows] == pytest.approx(expected)
    assert [row["site"] for row in rows] == [s.name for s in ONE.sites]


def test_states_of_a_site_fill_its_bar_in_their_own_colours():
    made = figure("states")
    rows = made.datasets["states"]
    for each in ONE.sites:
        found = {row["state"]: row["count"] for row in rows if row["site"] == each.name}
        assert found == {state: count for state, count in each.counts.items() if count}
        assert sum(row["share"] for row in rows if row["site"] == each.name) == pytest.approx(100)
    scale = made.spec()["encoding"]["color"]["scale"]
    assert scale["range"] == [STATE_COLOURS[state] for state in scale["domain"]]


@pytest.mark.parametrize(
    ("name", "column"), [("activation-rate", "activation_rate"), ("firing-frequency", "firing_frequency")]
)
def test_cells_hold_every_neuron_once_sorted_the_dead_in_one_cell_of_their_own(name, column):
    cells = figure(name).datasets["cells"]
    for each in ONE.sites:
        own = [cell for cell in cells if cell["site"] == each.name]
        dead = each.rows.states == "dead"
        values = 100 * np.sort(each.rows.columns[column][~dead])
        assert own[0]["kind"] == "dead"
        assert own[0]["count"] == dead.sum()
        assert own[0]["neuron"] == np.flatnonzero(dead)[0]
        living = own[1:]
        assert not any(cell["kind"] for cell in living)
        cuts = np.cumsum([0, *(cell["count"] for cell in living)])
        assert cuts[-1] == len(values)
        parts = [values[a:b] for a, b in pairwise(cuts)]
        assert [cell["mean"] for cell in living] == pytest.approx([part.mean() for part in parts])
        assert [cell["low"] for cell in living] == pytest.approx([part[0] for part in parts])
        assert [cell["high"] for cell in living] == pytest.approx([part[-1] for part in parts])
        ends = [(cell["from"], cell["to"]) for cell in own]
        assert ends[0][0] == 0
        assert ends[-1][1] == pytest.approx(100)
        assert all(a[1] == b[0] for a, b in pairwise(ends))


def test_a_hundred_thousand_neurons_stay_light():
    wide = run(names=[f"layer.{k}.mlp" for k in range(20)], neurons=[64] * 20, killed=[0] * 20)
    many = np.tile(np.arange(5000) / 5000, 1)
    sites = []
    for each in wide.sites:
        states = np.where(many < 0.2, "dead", "active").astype(np.str_)
        rows = replace(each.rows, states=states, flags=((),) * 5000, columns={"activation_rate": many})
        counts = {
            **dict.fromkeys(STATES, 0),
            "dead": int((states == "dead").sum()),
            "active": int((states == "active").sum()),
        }
        sites.append(replace(each, neurons=5000, rows=rows, counts=counts))
    made = KINDS["activation-rate"].make([replace(wide, sites=tuple(sites))])
    cells = made.datasets["cells"]
    assert len(cells) <= 6000
    assert sum(cell["count"] for cell in cells) == 100_000
    assert len(json.dumps(made.spec())) < 2_500_000


def test_a_rate_that_is_not_known_is_said_to_be_so():
    plain = run()
    first = plain.sites[0]
    columns = {"activation_rate": np.full(first.neurons, np.nan)}
    states = np.full(first.neurons, "unknown")
    rows = replace(first.rows, states=states, columns=columns)
    made = KINDS["activation-rate"].make([replace(plain, sites=(replace(first, rows=rows),))])
    assert {cell["kind"] for cell in made.datasets["cells"]} == {"not known"}
    assert "not known" in drawn_texts(rendered(made, "svg").decode())


@pytest.mark.parametrize(("name", "field"), [("histogram-a", "histogram"), ("histogram-z", "pre_histogram")])
def test_bins_are_those_of_the_histogram_with_shares_of_its_values(name, field):
    cells = figure(name).datasets["cells"]
    for each in ONE.sites:
        counts = getattr(each, field).counts
        found = {cell["bin"]: cell["share"] for cell in cells if cell["site"] == each.name}
        assert found == pytest.approx({k: 100 * n / counts.sum() for k, n in enumerate(counts) if n})


def test_values_beyond_the_outer_edges_have_bins_that_say_so():
    values = np.array([-1e9, 0.0, 0.0, 2e7])
    both = replace(site("s", 4), histogram=histogram(values))
    made = KINDS["histogram-a"].make([replace(ONE, sites=(both,))])
    texts = drawn_texts(rendered(made, "svg").decode())
    assert {"below", "above", "0"} <= set(texts)
    said = [cell["values"] for cell in made.datasets["cells"]]
    assert said == ["below -1e+06", "within 1e-06 of 0", "1e+06 and above"]


def test_ranks_stand_beside_the_width_and_the_share():
    rows = figure("effective-rank").datasets["ranks"]
    for each in ONE.sites:
        found = {row["of"]: row["value"] for row in rows if row["site"] == each.name}
        dead = np.mean(each.rows.states == "dead")
        expected = {"width": each.neurons, "effective rank": each.effective_rank}
        assert found == pytest.approx({**expected, "effective capacity": (1 - dead) * each.effective_rank})


def test_samples_that_die_add_up_over_the_sites():
    rows = figure("killed-samples").datasets["samples"]
    living = [row["count"] for row in rows if row["part"] == "living"]
    assert living == [SAMPLES, SAMPLES - 3, SAMPLES - 23]
    assert "23 are killed" in figure("killed-samples").alternative


def test_dormancy_scores_are_summed_up_by_their_quantiles():
    made = figure("dormancy")
    for each, row, cells in zip(ONE.sites, made.datasets["spread"], made.table.rows, strict=True):
        scores = each.rows.columns["dormancy_score"]
        levels = np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95])
        assert [row[key] for key in ("low", "lower", "median", "upper", "high")] == pytest.approx(levels)
        assert cells[-1] == pytest.approx(100 * np.mean(scores <= 0.025))


def test_evidence_is_of_the_dead_only():
    for each, row in zip(ONE.sites, figure("evidence").datasets["spread"], strict=True):
        margins = each.rows.columns["margin"][each.rows.states == "dead"]
        assert row["count"] == len(margins)
        assert row["median"] == pytest.approx(np.median(margins))


def test_lines_over_time_hold_each_site_at_each_step():
    rows = figure("dead-share-over-time").datasets["lines"]
    expected = [
        (s.name, r.step, 100 * np.mean(s.rows.states == "dead"))
        for k in range(3)
        for r in SEVERAL
        for s in [r.sites[k]]
    ]
    assert [(row["site"], row["step"]) for row in rows] == [each[:2] for each in expected]
    assert [row["share"] for row in rows] == pytest.approx([each[2] for each in expected])


def test_states_over_time_fill_the_area_at_each_step():
    rows = figure("states-over-time").datasets["states"]
    for each in SEVERAL:
        states = np.concatenate([s.rows.states for s in each.sites])
        found = {row["state"]: row["share"] for row in rows if row["step"] == each.step}
        assert sum(found.values()) == pytest.approx(100)
        assert found == pytest.approx({state: 100 * np.mean(states == state) for state in found})


def test_transitions_are_counted_neuron_by_neuron():
    states = np.array([np.concatenate([s.rows.states for s in each.sites]) for each in SEVERAL])
    cells = figure("transitions").datasets["cells"]
    assert sum(cell["count"] for cell in cells) == 3 * (16 + 40 + 300)
    for cell in cells:
        came, went = states[:-1] == cell["from"], states[1:] == cell["to"]
        assert cell["count"] == (came & went).sum()
        assert cell["share"] == pytest.approx(100 * (came & went).sum() / came.sum())


def test_survival_as_seen_is_counted_and_never_dead_falls():
    dead = np.array([np.concatenate([s.rows.states for s in each.sites]) for each in SEVERAL]) == "dead"
    rows = figure("survival").datasets["curves"]
    curves = {
        name: [row["share"] for row in rows if row["curve"] == name]
        for name in {row["curve"] for row in rows}
    }
    assert curves["alive, observed"] == pytest.approx(100 * (1 - dead.mean(1)))
    never = 100 * (1 - np.logical_or.accumulate(dead).mean(1))
    assert curves["never dead, observed"] == pytest.approx(never)
    assert len(curves) == 4


def test_trajectories_hold_every_neuron_and_every_step_in_its_state():
    cells = figure("trajectories").datasets["cells"]
    for k, each in enumerate(ONE.sites):
        own = [cell for cell in cells if cell["site"] == each.name]
        for step, here in enumerate(SEVERAL):
            states = here.sites[k].rows.states
            at = [cell for cell in own if cell["x"] <= step < cell["x2"]]
            found = {
                state: sum(c["count"] for c in at if c["state"] == state) for state in set(states.tolist())
            }
            assert sum(found.values()) == each.neurons
            assert found == {state: int((states == state).sum()) for state in found}
        for cell in own:
            assert SEVERAL[cell["x"]].sites[k].rows.states[cell["neuron"]] == cell["state"]


def test_trajectories_are_thinned_to_their_number_of_rows_and_say_so():
    rng = np.random.default_rng(0)
    runs = []
    for each in series(8):
        first = each.sites[2]
        states = rng.choice(["dead", "active", "dormant"], 3000)
        counts = {state: int((states == state).sum()) for state in STATES}
        rows = replace(first.rows, states=states, flags=((),) * 3000, columns={})
        runs.append(replace(each, sites=(replace(first, neurons=3000, rows=rows, counts=counts),)))
    made = KINDS["trajectories"].make(runs)
    cells = made.datasets["cells"]
    assert len({cell["y"] for cell in cells}) <= 300
    assert sum(cell["count"] for cell in cells if cell["x"] == 0) == 3000
    assert "thinned" in made.caption
    assert "thinned" not in figure("trajectories").caption


def test_runs_of_different_depth_stand_side_by_side_by_their_order():
    deep = run("deep", [f"s{k}" for k in range(5)], [8] * 5, killed=[0] * 5)
    made = KINDS["layers-side-by-side"].make([ONE, deep])
    marks = made.datasets["marks"]
    assert {mark["at"] for mark in marks} == {f"site {k}" for k in range(1, 6)}
    dead = {(m["run"], m["site"]): m["value"] for m in marks if m["measure"] == "dead"}
    assert dead["epoch12", ONE.sites[1].name] == pytest.approx(100 * ONE.sites[1].dead_share)
    with pytest.raises(UsageError, match="architecture"):
        KINDS["dead-share-over-time"].make([ONE, deep])


@pytest.mark.parametrize("name", KINDS)
def test_names_from_files_are_data_and_come_out_as_they_are(name):
    hostile = {"names": HOSTILE, "neurons": [8] * 6, "killed": [1] * 6}
    runs = [
        replace(each, label=f"{each.label} {{{{x}}}} a.b[0]:Q '+alert(1)") for each in series(3, **hostile)
    ]
    made = KINDS[name].make(runs if KINDS[name].several else runs[:1])
    spec = made.spec()
    outside = json.dumps(
        {key: value for key, value in spec.items() if key not in ("datasets", "description", "title")}
    )
    for place in re.findall(
        r'"(?:labelExpr|expr|filter|test|calculate|field|signal)": "((?:[^"\\]|\\.)*)"', outside
    ):
        assert not any(bad in place for bad in ("alert", "{{", "b[0]", "script", "\\u001b"))
    svg = rendered(made, "svg").decode()
    ElementTree.fromstring(svg)  # well-formed: no control characters, nothing left open
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert "\u202e" not in svg
    if any("at" in row for rows in made.datasets.values() for row in rows):
        texts = drawn_texts(svg)
        assert "{{x}}" in texts
        assert "b[0]:Q" in " ".join(texts)
    full = {row["site"] for rows in made.datasets.values() for row in rows if "site" in row}
    assert full <= set(HOSTILE)


@pytest.mark.parametrize("name", [name for name, each in KINDS.items() if each.rows])
def test_a_run_without_rows_is_told_what_is_missing(name):
    bare = [run(f"epoch{k}", step=k, rows=False) for k in range(2)]
    with pytest.raises(UsageError, match=r"row|neurons"):
        KINDS[name].make(bare if KINDS[name].several else bare[:1])


@pytest.mark.parametrize("name", [name for name, each in KINDS.items() if not each.rows])
def test_documents_without_rows_are_enough_for_the_other_kinds(name):
    bare = [run(f"epoch{k}", step=k, rows=False) for k in range(2)]
    assert KINDS[name].make(bare if KINDS[name].several else bare[:1]).table.rows


def test_what_was_not_measured_is_refused_with_what_to_do():
    sites = tuple(replace(s, histogram=None, pre_histogram=None, effective_rank=math.nan) for s in ONE.sites)
    bare = replace(ONE, sites=sites)
    for name in ("histogram-a", "histogram-z", "effective-rank"):
        with pytest.raises(UsageError, match=r"epoch12\.h5 holds no .*inspect again"):
            KINDS[name].make([bare])
    nobody = replace(ONE, sites=(site("s", 5, shares={"active": 1.0}),))
    with pytest.raises(UsageError, match="no dead neuron"):
        KINDS["evidence"].make([nobody])
    for each in KINDS.values():
        with pytest.raises(UsageError, match="no site"):
            each.make([replace(ONE, sites=())] * (1 + each.several))


def unmeasured(each):
    """The site without a sample: nothing is known of any neuron."""
    nan, none = np.full(each.neurons, np.nan), histogram(np.array([]))
    return replace(
        each,
        samples=0,
        killed_samples=0,
        counts={**dict.fromkeys(STATES, 0), "unknown": each.neurons},
        effective_rank=math.nan,
        histogram=none,
        pre_histogram=none,
        rows=Rows(
            np.full(each.neurons, "unknown"), ((),) * each.neurons, dict.fromkeys(each.rows.columns, nan)
        ),
    )


def hollow(each):
    """The site without a neuron."""
    rows = Rows(np.array([], np.str_), (), {name: np.array([]) for name in each.rows.columns})
    counts = dict.fromkeys(STATES, 0)
    return replace(
        each, neurons=0, counts=counts, effective_rank=math.nan, dead_rate_bound=math.nan, rows=rows
    )


def extreme(each):
    """The site with the largest numbers."""
    columns = {name: np.full(each.neurons, 1e300) for name in each.rows.columns}
    return replace(each, effective_rank=1e30, rows=replace(each.rows, columns=columns))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("odd", [unmeasured, hollow, extreme])
def test_odd_sites_are_drawn_or_refused_in_one_line(odd, whole):
    runs = [
        replace(each, sites=tuple(odd(s) if whole or k == 0 else s for k, s in enumerate(each.sites)))
        for each in series(2)
    ]
    for each in KINDS.values():
        with suppress(UsageError) if whole else nullcontext():
            made = each.make(runs if each.several else runs[:1])
            json.dumps(made.spec(), allow_nan=False)
            assert "nan" not in made.alternative


def test_the_number_of_runs_must_fit_the_kind():
    with pytest.raises(UsageError, match="of one run, not of 2"):
        KINDS["states"].make([ONE, ONE])
    with pytest.raises(UsageError, match="at least two"):
        KINDS["survival"].make([ONE])
    with pytest.raises(UsageError, match="did you mean dead-share"):
        kind("deadshare")
    with pytest.raises(UsageError, match="there are dead-share, states"):
        kind("\x1b!")


def test_runs_without_rising_steps_stand_side_by_side_under_their_labels():
    runs = [replace(each, step=None) for each in SEVERAL]
    for name in ("dead-share-over-time", "trajectories", "survival"):
        texts = drawn_texts(rendered(KINDS[name].make(runs), "svg").decode())
        assert {each.label for each in runs} <= set(texts)


def test_many_sites_are_drawn_without_losing_one():
    names = [f"/blocks.{k}/mlp/act/Gelu_output_0" for k in range(60)]
    runs = series(3, names=names, neurons=[6] * 60, killed=[0] * 60)
    for name, each in KINDS.items():
        made = each.make(runs if each.several else runs[:1])
        if name in ("activation-rate", "dead-share-over-time", "layers-side-by-side"):
            assert len(rendered(made, "svg")) > 5000
    assert len(KINDS["dead-share"].make(runs[:1]).datasets["sites"]) == 60
