"""`nla report` and `nla.report`: which runs make a page, in which order, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from inspections import inspection, site_result

import nla as library
from nla.cli.options import paging
from nla.errors import RecordingError
from nla.lifecycle.document import document
from nla.rendering.page.page import CHOICES


def seen(digest: str, *sites, **settings):
    """An inspection of the checkpoint with that digest."""
    about = {"path": f"{digest}.onnx", "digest": digest.ljust(64, "0"), "format": "onnx"}
    return inspection(sites or [site_result("relu", {"dead": 2, "active": 6})], checkpoint=about, **settings)


def written(folder: Path, name: str, found, *, neurons: bool = True) -> Path:
    path = folder / name
    path.write_text(json.dumps(document(found, neurons=neurons)))
    return path


def told(path: Path) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)[1])


@pytest.fixture
def series(tmp_path) -> list[Path]:
    """Three epochs of one network; the names are in no order."""
    return [
        written(
            tmp_path,
            f"epoch{n}.json",
            seen(f"e{n}x", site_result("relu", {"dead": n % 8, "active": 8 - n % 8})),
        )
        for n in (9, 10, 1)
    ]


def test_a_page_of_one_run_is_written(nla, series, tmp_path):
    done = nla("report", series[0], "-o", tmp_path / "page.html", "--title", "My <run>", "--theme", "dark")
    assert (done.code, done.out, done.err) == (0, "", "")
    html = (tmp_path / "page.html").read_text("utf-8")
    assert "<title>My &lt;run&gt;</title>" in html
    assert '<html lang="en" data-theme="dark">' in html
    assert told(tmp_path / "page.html")["neurons"]["rows"] == 8


def test_several_runs_stand_in_training_order(nla, series, tmp_path):
    assert nla("report", *series, "-o", tmp_path / "page.html").code == 0
    page = told(tmp_path / "page.html")
    assert page["runs"] == ["epoch1", "epoch9", "epoch10"]
    assert "transitions" in {each["id"] for each in page["figures"]}
    assert nla("report", *series, "--order", "given", "-o", tmp_path / "page.html").code == 0
    assert told(tmp_path / "page.html")["runs"] == ["epoch9", "epoch10", "epoch1"]


def test_a_checkpoint_that_is_given_twice_counts_once_and_the_page_says_so(series, tmp_path):
    page = library.report([series[0], series[1], series[0]], tmp_path / "page.html", in_process=True)
    assert told(page)["runs"] == ["epoch9", "epoch10"]
    assert "is left out: the same checkpoint as" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"sites": [site_result("relu", {"dead": 1, "active": 3})]}, "of another architecture than"),
        ({"data": {"path": "y.npz", "digest": "2" * 64, "samples": 100}}, "saw other data"),
    ],
    ids=["another network", "other data"],
)
def test_runs_that_are_no_series_stand_side_by_side_with_the_reason(other, why, tmp_path):
    sites = other.pop("sites", ())
    runs = [seen("a"), seen("b", *sites, **other)]
    page = library.report(runs, tmp_path / "page.html")
    assert why in page.read_text("utf-8")
    drawn = {each["id"] for each in told(page)["figures"]}
    assert "layers-side-by-side" in drawn
    assert "transitions" not in drawn
    if "data" in other:
        library.report(runs, tmp_path / "page.html", different_data=True)
        assert "transitions" in {each["id"] for each in told(page)["figures"]}


def test_inspections_and_documents_make_the_same_table(tmp_path):
    found = seen("a", site_result("relu", {"dead": 2, "active": 6}, columns={"margin": np.arange(8.0)}))
    of_python = told(library.report(found, tmp_path / "a.html"))
    of_file = told(library.report(written(tmp_path, "a.json", found), tmp_path / "b.html"))
    assert of_python["neurons"] == of_file["neurons"]


def test_the_same_runs_give_the_same_bytes(series, tmp_path):
    pages = [library.report(series, tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.h5", "-o", "page.html"], "nothing.h5: no such file"),
        (["run.json", "-o", "-"], "name a file, such as report.html"),
        (["run.json"], "Missing option '-o'"),
        (["-o", "page.html"], "Missing argument 'RUN...'"),
        (["run.json", "-o", "page.html", "--theme", "pink"], "'pink' is not one of 'auto', 'light', 'dark'"),
        (["run.json", "-o", "run.json"], "it is the file that was read"),
        (["run.json", "-o", "no/page.html"], "the folder no does not exist"),
        (["later.json", "-o", "page.html"], "later.json"),
        (["cut.json", "-o", "page.html"], "cut.json"),
        (
            ["run.json", "-o", "page.html", "--criterion", "dormancy_threshold=0.1"],
            "not by dormancy_threshold = 0.1",
        ),
        (["run.json", "other.json", "-o", "page.html"], "dormancy_threshold"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(nla, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = written(tmp_path, "run.json", seen("a")).read_text()
    (tmp_path / "later.json").write_text(whole.replace("nla/inspection/1", "nla/inspection/9"))
    (tmp_path / "cut.json").write_text(whole[:-100])
    strict = library.Criteria(dormancy_threshold=0.2)
    written(tmp_path, "other.json", seen("b", criteria=strict))
    before = sorted(tmp_path.iterdir())
    done = nla("report", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_in_python_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(RecordingError, match=r"text\.txt"):
        library.report(tmp_path / "text.txt", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_themes_of_the_option_are_those_of_the_page():
    assert paging.THEMES == CHOICES
