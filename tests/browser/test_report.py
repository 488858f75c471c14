"""The report in a real browser: drawn, searched, sorted, linked, printed, at three widths, without network or eval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from report_runs import run, site

from nla.rendering.page.page import Shown, page

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"
WIDTHS = (360, 768, 1440)


@dataclass
class Opened:
    """A page that is open, and everything that it said or asked for."""

    tab: Any
    address: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def shown(self) -> int:
        """How many neurons the table says that it shows."""
        return int(self.tab.inner_text("#shown").partition(" ")[0].replace(",", ""))

    def rows(self) -> list[tuple[str, int]]:
        """Site and index of the rows that are in the document, in their order."""
        cells = "rows => rows.map(row => [row.cells[0].title, Number(row.cells[1].textContent)])"
        return [
            (name, index) for name, index in self.tab.eval_on_selector_all("#grid-body tr[data-place]", cells)
        ]

    def search(self, text: str) -> None:
        self.tab.fill("#search", text)

    def clear(self) -> None:
        self.tab.evaluate("document.getElementById('clear').click()")


Open = Callable[..., Opened]
NETWORK = run([site("/net/relu1", 400, 1), site("/net/relu2", 250, 2), site("out:odd", 60, 3)], "epoch2")
SERIES = tuple(
    replace(run([site("/net/relu1", 60, k), site("/net/relu2", 40, k + 7)], f"epoch{k}"), step=k)
    for k in range(3)
)


@pytest.fixture(scope="module")
def open_page(browser, tmp_path_factory) -> Open:
    folder = tmp_path_factory.mktemp("pages")
    contexts = []

    def opens(shown: Shown, *, width: int = 1440, fragment: str = "", **settings: Any) -> Opened:
        file = Path(folder) / f"{len(contexts)}.html"
        file.write_text(page(shown), "utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **settings)
        contexts.append(context)
        opened = Opened(context.new_page(), file.as_uri())
        opened.tab.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        opened.tab.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.tab.on("request", lambda request: opened.asked.append(request.url))
        opened.tab.goto(opened.address + fragment)
        opened.tab.wait_for_selector("html[data-drawn=all]", timeout=20_000)
        return opened

    yield opens
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def one(open_page: Open) -> Opened:
    return open_page(Shown((NETWORK,)))


@pytest.fixture(scope="module")
def several(open_page: Open) -> Opened:
    return open_page(Shown(SERIES), color_scheme="dark", width=768)


@pytest.fixture
def table(one: Opened) -> Opened:
    one.clear()
    return one


def all_of(name: str) -> np.ndarray:
    """A column over all neurons, in single precision where it is fractional, as the page holds it."""
    values = np.concatenate([each.rows.columns[name] for each in NETWORK.sites])
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def states() -> np.ndarray:
    return np.concatenate([each.rows.states for each in NETWORK.sites])


def identities() -> list[tuple[str, int]]:
    return [(each.name, index) for each in NETWORK.sites for index in range(each.neurons)]


@pytest.mark.parametrize("which", ["one", "several"])
def test_nothing_goes_wrong_and_nothing_is_asked_for(which, request):
    opened = request.getfixturevalue(which)
    assert not opened.said
    assert {address.partition("#")[0] for address in opened.asked} == {opened.address}


@pytest.mark.parametrize("which", ["one", "several"])
def test_every_figure_is_drawn_with_marks(which, request):
    tab = request.getfixturevalue(which).tab
    marks = tab.eval_on_selector_all(
        "figure",
        """figures => figures.map(figure => [figure.id,
            [...figure.querySelectorAll('svg.marks .role-mark :is(path, text, line)')]
              .map(mark => mark.getBoundingClientRect())
              .filter(box => box.width + box.height > 0).length])""",
    )
    assert len(marks) >= 8
    assert not [name for name, number in marks if number == 0]


def test_a_page_has_axes_with_titles(one):
    titles = one.tab.eval_on_selector_all(
        "figure", "all => all.map(each => each.querySelectorAll('.role-axis-title text').length)"
    )
    assert min(titles) >= 1


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("dead", lambda s, n, c: s == "dead"),
        ("relu2 dead", lambda s, n, c: (n == "/net/relu2") & (s == "dead")),
        ("state:dorm", lambda s, n, c: s == "dormant"),
        ("site:relu1 index:12", lambda s, n, c: (n == "/net/relu1") & (c["index"] == 12)),
        ("12", lambda s, n, c: c["index"] == 12),
        ("activation_rate<1%", lambda s, n, c: c["activation_rate"] < np.float32(0.01)),
        ("margin>=1 max>5", lambda s, n, c: (c["margin"] >= 1) & (c["max"] > 5)),
        ("flag:starved", lambda s, n, c: c["starved"]),
        ('"no such neuron"', lambda s, n, c: s == "none"),
        ("sparseness", lambda s, n, c: s == "specialised"),
    ],
)
def test_a_search_finds_what_numpy_finds(table, text, holds):
    names = np.array([name for name, _ in identities()])
    known = {name: all_of(name) for name in ("activation_rate", "margin", "max")}
    known["index"] = np.array([index for _, index in identities()])
    known["starved"] = np.array(["starved" in flags for each in NETWORK.sites for flags in each.rows.flags])
    wanted = np.flatnonzero(holds(states(), names, known))
    table.search(text)
    assert table.shown() == len(wanted)
    first = table.rows()
    assert first == [identities()[row] for row in wanted[: len(first)]]
    assert table.tab.is_visible("#nothing") == (len(wanted) == 0)


@pytest.mark.parametrize("name", ["margin", "contribution_score", "fired_samples", "activation_rate"])
def test_sorting_is_that_of_numpy_both_ways_with_the_unknown_last(table, name):
    values, places = all_of(name).astype(float), np.arange(len(states()))
    unknown = np.isnan(values)
    for sign, said in ((-1, "descending"), (1, "ascending")):
        table.tab.click(f"th[data-column={name}] button")
        order = np.lexsort((places, sign * np.nan_to_num(values), unknown))
        first = table.rows()
        assert first == [identities()[row] for row in order[: len(first)]]
        assert table.tab.get_attribute(f"th[data-column={name}]", "aria-sort") == said
    table.tab.click(f"th[data-column={name}] button")
    assert table.rows()[0] == identities()[0]


def test_filters_join(table):
    table.tab.select_option("#site", label="/net/relu2")
    table.tab.check("#states input[value=dead]", force=True)
    table.tab.check("#states input[value=dormant]", force=True)
    counts = NETWORK.sites[1].counts
    assert table.shown() == counts["dead"] + counts["dormant"]


def test_a_tile_and_a_row_of_the_layers_lead_to_their_neurons(table):
    table.tab.click(".tile.dormant a")
    assert table.shown() == NETWORK.summary["dormant"]
    table.tab.click("#layers tbody tr:nth-child(2) th a")
    assert table.shown() == NETWORK.sites[1].neurons


def test_scrolling_to_the_end_shows_the_last_neuron(table):
    table.tab.evaluate("document.getElementById('grid').scrollTop = 1e9")
    table.tab.wait_for_selector(f"#row-{len(states()) - 1}")
    assert table.rows()[-1] == identities()[-1]
    assert table.tab.evaluate("document.querySelectorAll('#grid-body tr').length") < 80


def test_the_keys_move_a_row_that_is_announced(table):
    tab = table.tab
    tab.focus("#grid")
    for key, row in (
        ("Home", 0),
        ("ArrowDown", 1),
        ("ArrowDown", 2),
        ("ArrowUp", 1),
        ("End", len(states()) - 1),
    ):
        tab.keyboard.press(key)
        assert tab.get_attribute("#grid", "aria-activedescendant") == f"row-{row}"
        assert tab.is_visible(f"#row-{row}")
        assert tab.get_attribute(f"#row-{row}", "aria-selected") == "true"
    tab.keyboard.press("PageUp")
    assert tab.get_attribute("#grid", "aria-activedescendant") != f"row-{len(states()) - 1}"
    tab.focus("th[data-column=site] button")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    assert tab.get_attribute("th[data-column=state]", "aria-sort") == "ascending"
    assert states()[identities().index(table.rows()[0])] == "dead"
    for _ in range(2):
        tab.keyboard.press("Enter")
    assert tab.get_attribute("th[data-column=state]", "aria-sort") == "none"
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "search"


def test_a_click_on_a_cell_of_the_heatmap_lists_its_neurons_and_marks_lead_back(table):
    tab = table.tab
    cell = tab.locator("#chart-activation-rate .mark-rect.role-mark path").nth(5)
    datum = cell.evaluate(
        "mark => (({site, from, to, count, neuron}) => ({site, from, to, count, neuron}))(mark.__data__.datum)"
    )
    cell.dispatch_event("click")
    if (
        not tab.is_visible("#picked") and datum["count"] > 1
    ):  # vega listens to the chart, and looks what lies below
        box = cell.bounding_box()
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert table.shown() in (
        datum["count"],
        next(s.neurons for s in NETWORK.sites if s.name == datum["site"]),
    )
    assert (datum["site"], datum["neuron"]) in table.rows()
    tab.evaluate(f"location.hash = '#n={quote(datum['site'], safe='')}:{datum['neuron']}'")
    outline = tab.locator("#chart-activation-rate .hit")
    outline.wait_for()
    assert outline.count() == 1
    assert outline.get_attribute("d") == cell.get_attribute("d")
    assert outline.get_attribute("transform") == cell.get_attribute("transform")


def test_what_is_copied_is_a_table_of_the_rows(table):
    table.search("site:odd dead")
    text = table.tab.evaluate(
        """() => new Promise(resolve => {
            navigator.clipboard.writeText = text => { resolve(text); return Promise.resolve(); };
            document.getElementById('copy').click(); })"""
    )
    lines = text.splitlines()
    head = lines[0].split(",")
    assert head[:5] == ["site", "index", "state", "flags", "activation_rate"]
    odd = NETWORK.sites[2].rows
    dead = np.flatnonzero(odd.states == "dead")
    assert len(lines) == len(dead) + 1
    for line, row in zip(lines[1:], dead, strict=True):
        cells = dict(zip(head, line.split(","), strict=True))
        assert (cells["site"], int(cells["index"]), cells["state"]) == ("out:odd", row, "dead")
        assert cells["flags"] == ";".join(odd.flags[row])
        assert float(cells["margin"]) == pytest.approx(odd.columns["margin"][row], rel=1e-6)


def test_a_link_leads_to_a_row_and_a_false_one_nowhere(open_page):
    opened = open_page(Shown((NETWORK,)), fragment=f"#n={quote('out:odd', safe='')}:41", width=360)
    state = NETWORK.sites[2].rows.states[41]
    assert f"out:odd [41] is {state}" in opened.tab.inner_text("#chosen")
    assert ("out:odd", 41) in opened.rows()
    for false in ("#n=out%3Aodd:60", "#n=%E0%A4%A:1", "#n=nothing:1", "#n=1"):
        opened.tab.evaluate(f"location.hash = '{false}'")
    assert not opened.said


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["one", "several"])
def test_nothing_overflows_the_page(which, width, request):
    tab = request.getfixturevalue(which).tab
    before = tab.viewport_size
    tab.set_viewport_size({"width": width, "height": 900})
    tab.wait_for_timeout(120)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.set_viewport_size(before)


def test_dark_and_light_follow_the_system_and_the_button(several):
    tab = several.tab

    def ground() -> str:
        return tab.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink() -> str:
        return tab.evaluate("getComputedStyle(document.querySelector('.role-axis-label text')).fill")

    dark, dark_ink = ground(), ink()
    tab.click("#theme")  # light
    light, light_ink = ground(), ink()
    assert sum(map(int, light[4:-1].split(","))) > 600
    assert sum(map(int, dark[4:-1].split(","))) < 200
    assert dark_ink != light_ink
    tab.click("#theme")  # dark
    assert (ground(), ink()) == (dark, dark_ink)
    tab.emulate_media(color_scheme="light")
    assert ground() == dark
    tab.click("#theme")  # auto
    assert ground() == light


def test_on_paper_stand_the_first_rows_and_every_finding(several):
    tab = several.tab
    paper = tab.pdf(format="A4", print_background=True)
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") >= 2 or len(paper) > 50_000
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("#printed tbody tr").count() == 40
    assert tab.inner_text("#printed-note") == "The first 40 of 100 neurons as filtered on the page."
    assert not tab.is_visible("#grid")
    assert not tab.is_visible("nav")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")


def test_the_trajectory_of_a_neuron_stands_in_its_row(several):
    strips = several.tab.eval_on_selector_all("#grid-body .strip", "all => all.map(each => each.ariaLabel)")
    for place, strip in enumerate(strips[:20]):
        assert strip == ", ".join(str(each.sites[0].rows.states[place]) for each in SERIES)


def test_hostile_names_are_shown_as_text(open_page):
    hostile = run([site(HOSTILE, 30, 1), site("=cmd()", 5, 2)], HOSTILE, notes=(HOSTILE,))
    opened = open_page(Shown((hostile,)), width=768)
    tab = opened.tab
    assert tab.title() != "owned"
    assert tab.locator("img").count() == 0
    assert tab.evaluate("document.querySelector('#grid-body tr[data-place] td').title") == HOSTILE
    tab.hover("#chart-activation-rate .mark-rect.role-mark path >> nth=0")
    tab.wait_for_selector("#vg-tooltip-element.visible")
    assert "onerror" in tab.inner_text("#vg-tooltip-element")
    assert tab.locator("img").count() == 0
    assert not opened.said
    assert tab.title() != "owned"


def test_without_javascript_words_and_numbers_are_there(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(Shown((NETWORK,))), "utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.click("#figure-dead-share summary")
    assert tab.locator("#figure-dead-share tbody tr").count() == 3
    assert "JavaScript" in tab.inner_text("noscript")
    context.close()
