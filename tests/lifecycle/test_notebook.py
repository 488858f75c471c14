"""What a notebook shows: true, small whatever the checkpoint, and harmless whatever its names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from inspections import inspection, site_result

from nla.lifecycle.results import Finding
from nla.lifecycle.table import neuron_table

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</table></div>&amp;",
    "\x1b[31m\u202e",
]
TAGS = {
    *("style", "div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "code", "span", "i", "ol", "li")
}


class Page(HTMLParser):
    """Reads HTML, and fails where a tag is not closed, is unknown, or brings more than looks."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.said = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS
        assert {name for name, _ in attrs} <= {"class", "style", "scope", "aria-hidden"}
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.said += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_an_inspection_shows_its_totals_and_a_row_for_each_site():
    finding = Finding("a large share of dead neurons", "", "", "", "", "")
    sites = [site_result("/fc1/Relu", {"dead": 3, "active": 1}), site_result("/fc2/Relu", {"dormant": 4})]
    page = Page(inspection(sites, findings=(finding,))._repr_html_())
    assert page.rows == [
        ["site", "kind", "neurons", "dead", "dormant", "active", "dead share", "effective rank"],
        ["/fc1/Relu", "dense Relu", "4", "3", "0", "1", "75 %", "12.5"],
        ["/fc2/Relu", "dense Relu", "4", "0", "4", "0", "0 %", "12.5"],
    ]
    assert "3 of 8 neurons are dead (37.5 %). With 95 % confidence none fires on more than" in page.said
    assert "model.onnx on calibration.npz, 100 samples" in page.said
    assert "a large share of dead neurons" in page.said


def test_a_table_of_neurons_shows_its_first_rows():
    rows = neuron_table(
        inspection([site_result("/fc1/Relu", {"dead": 1, "active": 30}, flags={1: ("linear",)})])
    )
    page = Page(rows._repr_html_())
    assert len(page.rows) == 1 + 20
    assert page.rows[1][:5] == ["/fc1/Relu", "0", "dead", "", "0"]
    assert page.rows[2][:5] == ["/fc1/Relu", "1", "active", "linear", "0.5"]
    assert f"the first 20 of 31 neurons; to_pandas() has all {len(rows.columns)} columns" in page.said


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_files_are_escaped(name):
    found = inspection([site_result(name, {"active": 1})], checkpoint={"path": name}, data={"path": name})
    for shown in (found._repr_html_(), neuron_table(found)._repr_html_()):
        page = Page(shown)
        assert page.rows[1][0] == name.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
        assert "\x1b" not in shown


def test_hundreds_of_sites_stay_small():
    sites = [site_result(f"/layers.{i}/{'long' * 100}/Relu", {"dead": 1, "active": 9}) for i in range(500)]
    found = inspection(
        sites, findings=tuple(Finding("symptom " * 90, "", "", "", "", "") for _ in range(300))
    )
    shown = found._repr_html_()
    assert len(shown) < 30_000
    page = Page(shown)
    assert len(page.rows) == 1 + 40
    assert "and 460 more sites, with 460 dead of 4,600 neurons" in page.said


def test_nothing_is_loaded_from_elsewhere():
    shown = inspection([site_result("a", {"dead": 1})])._repr_html_()
    assert not re.search(r"https?:|url\(|@import|src=|href=|<script", shown)


def test_nothing_inspected_and_nothing_dead_are_said():
    assert "No site was found." in Page(inspection([])._repr_html_()).said
    assert (
        "None of 2 neurons is dead." in Page(inspection([site_result("a", {"active": 2})])._repr_html_()).said
    )
    assert "0 neurons" in Page(neuron_table(inspection([]))._repr_html_()).said


def test_samples_drawn_at_random_are_named_so():
    found = inspection([site_result("a", {"dead": 2})], data={"synthetic": True, "samples": 100})
    assert "100 random samples, not data" in Page(found._repr_html_()).said


@pytest.mark.parametrize(
    ("share", "said"), [(1.0, "100 %"), (0.99999, "> 99.9 %"), (1 / 3, "33.3 %"), (1e-6, "0.0001 %")]
)
def test_a_share_is_never_rounded_to_all(share, said):
    result = site_result("a", {"dead": 1, "active": 1}, dead_share=share, effective_rank=np.nan)
    page = Page(inspection([result])._repr_html_())
    assert page.rows[1][-2:] == [said, ""]
