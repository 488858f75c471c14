"""The page: what its document holds, what hostile names come to, which pictures it draws."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from report_runs import run, site

from nla.errors import MissingExtraError, UsageError
from nla.lifecycle.results import FLAGS, STATES
from nla.rendering.page import content
from nla.rendering.page.columns import column
from nla.rendering.page.neurons import block, pack
from nla.rendering.page.page import Shown, page
from nla.rendering.page.trajectories import NOT_KNOWN, trajectories

HOSTILE = "</script><img src='http://x' onerror=alert(1)>\"&<!--\u202e"
TYPES = {"u1": np.uint8, "u4": np.uint32, "f4": np.float32, "f8": np.float64}


@pytest.fixture(scope="module")
def one():
    return run([site("/net/relu1", 40, 1), site("/net/relu2", 25, 2)])


@pytest.fixture(scope="module")
def html(one):
    return page(Shown((one,)))


class Read(HTMLParser):
    """Tags in order with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._skip = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._skip = tag if tag in ("script", "style") else ""

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)

    def handle_endtag(self, tag):
        self._skip = ""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def data(html: str):
    return json.loads(re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL)[1])


def unpacked(text: str, kind: str) -> np.ndarray:
    """What `block` packed, undone in plain numpy."""
    apart = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    size = np.dtype(TYPES[kind]).itemsize
    return (
        np.ascontiguousarray(apart.reshape(size, -1).T).view(np.dtype(TYPES[kind]).newbyteorder("<")).ravel()
    )


@pytest.mark.parametrize("kind", TYPES)
def test_a_block_holds_the_bytes_of_its_array(kind):
    values = (np.random.default_rng(0).random(1000) * 200).astype(TYPES[kind])
    np.testing.assert_array_equal(unpacked(block(values), kind), values)
    assert block(values) == block(values.copy())


def test_every_neuron_is_packed_with_its_state_flags_and_numbers(one):
    packed = pack(one)
    about = {each["name"]: each for each in packed.about["columns"]}
    rows = [each.rows for each in one.sites]
    states = unpacked(packed.blocks["state"], "u1")
    assert [STATES[k] for k in states] == [*rows[0].states, *rows[1].states]
    bits = unpacked(packed.blocks["flags"], "u1")
    assert [tuple(f for k, f in enumerate(FLAGS) if b >> k & 1) for b in bits] == [
        *rows[0].flags,
        *rows[1].flags,
    ]
    for name in rows[0].columns:
        if name == "decided_by":
            continue
        known = np.concatenate([each.columns[name] for each in rows])
        got = unpacked(packed.blocks[name], about[name]["type"])
        np.testing.assert_array_equal(got, known.astype(got.dtype))
    words = about["decided_by"]["words"]
    assert [words[k] for k in unpacked(packed.blocks["decided_by"], "u1")] == [
        *rows[0].columns["decided_by"],
        *rows[1].columns["decided_by"],
    ]
    assert [(each["start"], each["neurons"]) for each in packed.about["sites"]] == [(0, 40), (40, 25)]


def test_a_column_that_one_site_lacks_is_unknown_there_and_one_that_none_knows_is_left_out():
    sites = [site("a", 5), site("b", 3, 1)]
    rows = sites[0].rows
    first = replace(
        rows,
        columns={**rows.columns, "p_value": np.linspace(0, 1, 5), "mutual_information": np.full(5, np.nan)},
    )
    packed = pack(run([replace(sites[0], rows=first), sites[1]]))
    got = unpacked(packed.blocks["p_value"], "f4")
    np.testing.assert_array_equal(got, np.float32([0, 0.25, 0.5, 0.75, 1, np.nan, np.nan, np.nan]))
    assert "mutual_information" not in packed.blocks


def test_counts_beyond_four_bytes_keep_every_digit():
    big = site("a", 3)
    rows = replace(big.rows, columns={**big.rows.columns, "positions": np.array([2**40 + 1, 2**40 + 2, 3])})
    packed = pack(run([replace(big, rows=rows)]))
    about = next(each for each in packed.about["columns"] if each["name"] == "positions")
    assert about["type"] == "f8"
    np.testing.assert_array_equal(unpacked(packed.blocks["positions"], "f8"), [2**40 + 1, 2**40 + 2, 3])


def test_every_column_has_a_title_and_a_meaning(one):
    for each in pack(one).about["columns"]:
        assert each["title"]
        assert each["meaning"].endswith((".", "eq. 7)."))
    assert column("unheard_of").title == "unheard of"


def test_the_page_is_the_same_for_the_same_runs(one, html):
    assert page(Shown((one,))) == html


def test_the_page_needs_nothing_from_elsewhere(html):
    assert not re.search(r"(src|href)=[\"']https?://", html)
    assert "@import" not in html
    read = Read(html)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]


def test_only_the_pages_own_scripts_may_run(html):
    policy = dict(
        part.strip().split(" ", 1)
        for part in re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
        .replace("&#39;", "'")
        .split(";")
    )
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)


def test_a_hostile_name_stays_text_wherever_it_stands():
    hostile = replace(
        run([site(HOSTILE, 10), site("plain", 5)], HOSTILE, path=""),
        checkpoint={"path": HOSTILE, HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        not_understood=({"node": HOSTILE, "reason": HOSTILE},),
    )
    clean = replace(
        run([site("name", 10), site("plain", 5)], "name", path=""),
        checkpoint={"path": "name", "other": "name"},
        notes=("name",),
        not_understood=({"node": "name", "reason": "name"},),
    )
    for runs, cleans in (((hostile,), (clean,)), ((hostile, hostile), (clean, clean))):
        made = page(Shown(runs, notes=(HOSTILE,), apart=HOSTILE), title=HOSTILE)
        plain = page(Shown(cleans, notes=("name",), apart="name"), title="name")
        assert [tag for tag, _ in Read(made).tags] == [tag for tag, _ in Read(plain).tags]
        assert not re.search(r"(src|href)=[\"']https?://", made)
        assert "\u202e" not in made
        assert "onerror=alert(1)" in Read(made).text
        assert data(made)["neurons"]["sites"][0]["name"].startswith("</script><img")


def test_half_a_surrogate_pair_is_no_hindrance():
    odd = replace(run([site("a\ud800", 4)], "l\ud800"), data={"path": "\udfff"}, notes=("\ud83d",))
    page(Shown((odd,))).encode()


def test_headings_are_in_order_and_every_figure_has_words_and_numbers(html):
    read = Read(html)
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    figures = [attributes["id"] for tag, attributes in read.tags if tag == "figure"]
    assert figures == [f"figure-{each['id']}" for each in data(html)["figures"]]
    for figure in figures:
        part = Read(html[html.index(f'id="{figure}"') :].partition("</figure>")[0])
        tags = [tag for tag, _ in part.tags]
        assert {"figcaption", "details", "summary", "table", "th", "td"} <= set(tags)
    assert read.tags[0] == ("html", {"lang": "en"})


def test_one_run_shows_all_that_is_of_one_run(html):
    drawn = {each["id"] for each in data(html)["figures"]}
    assert {
        "dead-share",
        "activation-rate",
        "histogram-a",
        "histogram-z",
        "effective-rank",
        "killed-samples",
    } <= drawn


def test_several_runs_are_drawn_over_time_too():
    runs = tuple(
        replace(run([site("a", 30, k), site("b", 20, k + 9)], f"epoch{k}"), step=k) for k in range(3)
    )
    made = page(Shown(runs))
    drawn = {each["id"] for each in data(made)["figures"]}
    wanted = {"trajectories", "states-over-time", "transitions", "survival", "dead-share-over-time"}
    assert wanted | {"layers-side-by-side", "dead-share"} <= drawn
    assert [each["name"] for each in data(made)["neurons"]["columns"]][2] == "trajectory"
    assert data(made)["runs"] == ["epoch0", "epoch1", "epoch2"]


def test_runs_of_different_networks_stand_side_by_side_and_the_page_says_why():
    runs = (run([site("a", 30)], "one"), run([site("b", 7), site("c", 5)], "two"))
    made = page(Shown(runs, apart="two is another network"))
    drawn = {each["id"] for each in data(made)["figures"]}
    assert "layers-side-by-side" in drawn
    assert "transitions" not in drawn
    text = Read(made).text
    assert "Side by side only. Two is another network." in text
    assert "trajectory" not in [each["name"] for each in data(made)["neurons"]["columns"]]


def test_trajectories_are_the_states_by_neuron_and_run():
    runs = [run([site("a", 6, k), site("b", 4, k + 5)], str(k)) for k in range(3)]
    table = trajectories(runs)
    for step, each in enumerate(runs):
        states = [*each.sites[0].rows.states, *each.sites[1].rows.states]
        assert [STATES[place] for place in table[:, step]] == states
    assert trajectories([run([site("a", 6, rows=False)]), runs[0]]) is None
    assert trajectories([run([site("a", 7)]), runs[0]]) is None
    assert NOT_KNOWN not in table


def test_a_document_without_rows_has_no_table_of_neurons_and_says_how_to_get_one():
    made = page(Shown((run([site("a", 9, rows=False)]),)))
    assert data(made)["neurons"] is None
    text = Read(made).text
    assert "--neurons" in text
    assert "could not be drawn" in text


def test_a_network_without_sites_has_a_page():
    made = page(Shown((run([], findings=()),)))
    assert "No site was found" in Read(made).text


def test_the_theme_is_as_asked_and_no_other():
    one = run([site("a", 3)])
    assert '<html lang="en">' in page(Shown((one,)))
    assert '<html lang="en" data-theme="dark">' in page(Shown((one,)), theme="dark")
    with pytest.raises(UsageError, match="theme 'pink' is none: expected one of auto, light, dark"):
        page(Shown((one,)), theme="pink")
    with pytest.raises(UsageError, match="nothing to report"):
        page(Shown(()))


@pytest.mark.parametrize("library", ["jinja2", "altair", "vl_convert"])
def test_a_missing_library_is_said_to_be_an_extra(library, monkeypatch):
    monkeypatch.setattr("nla.rendering.page.page.find_spec", lambda name: None if name == library else name)
    with pytest.raises(
        MissingExtraError, match=r"reports needs an optional library: pip install 'nla\[report\]'"
    ):
        page(Shown((run([site("a", 3)]),)))


def test_a_finding_names_the_recording_where_there_is_one(one):
    assert content.findings(one)[0]["command"] == "nla neurons run.h5 --state dead"
    assert content.findings(replace(one, path="run.json"))[0]["command"] == "nla neurons RUN.h5 --state dead"
    spaced = replace(one, path="my run.h5")
    assert content.findings(spaced)[0]["command"] == "nla neurons 'my run.h5' --state dead"


def test_facts_are_told_in_words_and_what_is_empty_is_left_out():
    known = {
        "a_b": 1234,
        "c": None,
        "d": [],
        "e": {"x": True, "y": ""},
        "f": list(range(15)),
        "g": 0.5,
        "h": False,
    }
    said = dict(content.facts(known))
    assert said == {
        "a b": "1,234",
        "e": "x: yes",
        "f": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more",
        "g": "0.5",
        "h": "no",
    }


def test_a_bar_is_full_and_says_what_it_holds():
    counts = {"neurons": 8, "dead": 2, "active": 6}
    assert [(part.state, part.start, part.width) for part in content.bar(counts)] == [
        ("dead", 0, 25),
        ("active", 25, 75),
    ]
    assert content.bar_words(counts) == "2 dead, 6 active"
    assert content.bar_words({}) == "no neurons"
