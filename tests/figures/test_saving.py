"""Figures as files: sizes, formats, the same bytes whatever was drawn before, and no network."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys

import pytest
from drawn_runs import run, series
from PIL import Image, ImageColor

from nla.errors import MissingExtraError, UsageError
from nla.figures import registry, saving
from nla.figures.registry import KINDS
from nla.figures.saving import format_of, rendered

ONE = run()
DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from drawn_runs import run, series
from nla.figures.registry import KINDS
from nla.figures.saving import FORMATS, rendered
for name in sys.argv[2:]:
    figure = KINDS[name].make(series(3) if KINDS[name].several else [run()])
    print(*(hashlib.sha256(rendered(figure, each)).hexdigest() for each in FORMATS))
"""


def png_size(drawn):
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", drawn[16:24])


def test_a_png_has_the_size_and_density_asked_for():
    figure = KINDS["dead-share"].make([ONE])
    assert png_size(rendered(figure, "png", width=400, height=300, dpi=144)) == (800, 600)
    assert png_size(rendered(figure, "png", width=400, height=300, dpi=72)) == (400, 300)
    assert png_size(rendered(figure, "png", dpi=72)) == (figure.width, figure.height)


def test_several_views_together_have_the_size_asked_for():
    figure = KINDS["layers-side-by-side"].make(series(3))
    width, height = png_size(rendered(figure, "png", width=900, height=400, dpi=72))
    assert (width, height) == (pytest.approx(900, abs=3), pytest.approx(400, abs=3))


def test_a_pdf_is_one():
    assert rendered(KINDS["states"].make([ONE]), "pdf").startswith(b"%PDF-1.")


@pytest.mark.parametrize("name", ["trajectories", "histogram-z"])
def test_the_same_figure_is_the_same_bytes_in_one_process(name):
    figure = KINDS[name].make(series(3) if KINDS[name].several else [ONE])
    first = {each: rendered(figure, each) for each in saving.FORMATS}
    rendered(KINDS["transitions"].make(series(3)), "svg")  # Vega counts clips and gradients over all figures
    assert {each: rendered(figure, each) for each in saving.FORMATS} == first


def test_the_same_figure_is_the_same_bytes_in_another_process(request):
    names = ["activation-rate", "survival"]
    tests = str(request.config.rootpath / "tests")
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, tests, *names], capture_output=True, text=True, check=True
    )
    here = [
        " ".join(hashlib.sha256(rendered(figure, each)).hexdigest() for each in saving.FORMATS)
        for figure in (KINDS[n].make(series(3) if KINDS[n].several else [run()]) for n in names)
    ]
    assert done.stdout.splitlines() == here
    assert done.stderr == ""


def test_the_ground_is_transparent_in_both_themes_but_painted_in_png():
    from nla.figures.theme import DARK, LIGHT

    for theme in (LIGHT, DARK):
        drawn = rendered(KINDS["dead-share"].make([ONE]), "svg", theme=theme).decode()
        assert theme.text in drawn
        assert theme.ground not in drawn
        pixels = Image.open(io.BytesIO(rendered(KINDS["dead-share"].make([ONE]), "png", theme=theme, dpi=72)))
        assert pixels.convert("RGBA").getpixel((0, 0)) == (*ImageColor.getrgb(theme.ground), 255)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"width": 5}, "width 5"),
        ({"height": 10**6}, "height 1000000"),
        ({"dpi": 0}, "dpi 0"),
        ({"dpi": float("nan")}, "dpi nan"),
        ({"width": 10_000, "height": 10_000, "dpi": 2400}, "dots"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes, said):
    with pytest.raises(UsageError, match=said):
        rendered(KINDS["states"].make([ONE]), "png", **sizes)


def test_the_format_is_that_of_the_name_unless_it_is_said():
    assert format_of("a.PDF") == "pdf"
    assert format_of("a.txt", "png") == "png"
    assert format_of(None) == "svg"
    with pytest.raises(UsageError, match=r"a\.gif: a figure is svg, png, pdf"):
        format_of("a.gif")
    with pytest.raises(UsageError, match="no format 'gif'"):
        rendered(KINDS["states"].make([ONE]), "gif")


def test_a_missing_library_names_the_extra(monkeypatch):
    figure = KINDS["states"].make([ONE])
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"nla\[report\]"):
        rendered(figure)
    monkeypatch.setitem(sys.modules, "altair", None)
    monkeypatch.delitem(sys.modules, "nla.figures.states")
    with pytest.raises(MissingExtraError, match=r"plots .*nla\[report\]"):
        registry.KINDS["states"].make([ONE])


def test_a_notebook_shows_the_figure_with_its_data():
    figure = KINDS["states"].make([ONE])
    bundle = figure._repr_mimebundle_(None, None)
    mimes = bundle[0] if isinstance(bundle, tuple) else bundle
    assert mimes
    assert "dormant" in str(mimes)
