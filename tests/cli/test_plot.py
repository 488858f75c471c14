"""`nla plot`: its arguments, its formats, its refusals."""

from __future__ import annotations

import pytest
from drawn_runs import run, series

import nla as package
from nla.cli.app import nla as group
from nla.cli.options import drawing as options
from nla.cli.theory import theory
from nla.errors import UsageError
from nla.figures import saving, theme
from nla.figures.figure import Figure
from nla.figures.registry import KINDS
from nla.verbs import drawing


@pytest.fixture
def opened(monkeypatch):
    """The runs that files hold, in place of reading them: by the order given; gives what was asked for."""
    asked = {}

    def open_runs(runs, criteria, **how):
        asked.update(how, runs=list(runs), criteria=criteria)
        made = {f"epoch{3 * k:02d}.h5": each for k, each in enumerate(series(3))}
        return tuple(made.get(str(path), run()) for path in runs)

    monkeypatch.setattr(drawing, "open_runs", open_runs)
    return asked


def test_one_run_and_a_kind_make_a_file(nla, opened, tmp_path):
    out = tmp_path / "dead.svg"
    done = nla("plot", "epoch12.h5", "dead-share", "-o", out)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert out.read_text().startswith("<svg")
    assert "Dead neurons by depth" in out.read_text()
    assert opened["rows"] is False
    assert opened["ranks"] is False


def test_several_runs_stand_before_the_kind_and_come_into_training_order(nla, opened, tmp_path):
    out = tmp_path / "t.pdf"
    done = nla("plot", "epoch06.h5", "epoch00.h5", "epoch03.h5", "transitions", "-o", out)
    assert (done.code, done.err) == (0, "")
    assert out.read_bytes().startswith(b"%PDF")
    figure = package.plot(["epoch06.h5", "epoch00.h5", "epoch03.h5"], "survival")
    assert isinstance(figure, Figure)
    steps = [row["step"] for row in figure.datasets["curves"]][:3]
    assert steps == [0, 3, 6]
    figure = package.plot(["epoch06.h5", "epoch00.h5"], "layers-side-by-side", order="given")
    assert figure.subtitle.startswith("2 runs, epoch06 to epoch00")


def test_the_checkpoint_before_training_has_born_neurons(opened):
    runs = ["epoch00.h5", "epoch03.h5"]
    born = package.plot(runs, "states-over-time").datasets["states"]
    assert next(row["share"] for row in born if row["state"] == "born") > 0
    plain = package.plot(runs, "states-over-time", first_is_initial=False).datasets["states"]
    assert "born" not in {row["state"] for row in plain}


def test_a_dash_writes_svg_to_standard_output_and_the_format_may_be_said(nla, opened, tmp_path):
    done = nla("plot", "run.h5", "states", "-o", "-")
    assert done.code == 0
    assert done.out.startswith("<svg")
    out = tmp_path / "figure"
    assert (
        nla("plot", "run.h5", "states", "-o", out, "--format", "png", "--dpi", "72", "--width", "400").code
        == 0
    )
    assert out.read_bytes().startswith(b"\x89PNG")
    dark = tmp_path / "dark.svg"
    assert nla("plot", "run.h5", "states", "-o", dark, "--theme", "dark", "--height", "300").code == 0
    assert theme.DARK.text in dark.read_text()
    assert 'height="300"' in dark.read_text()


def test_the_list_names_every_kind(nla):
    done = nla("plot", "--list")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in KINDS)
    drawing = [name for name, each in theory.commands.items() if any(p.name == "plot" for p in each.params)]
    assert drawing
    assert all(f"  nla theory {name} " in done.out for name in drawing)
    assert max(map(len, done.out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run.h5", "dead-shares", "-o", "f.svg"), "did you mean dead-share"),
        (("dead-share", "run.h5", "-o", "f.svg"), "the kind of figure comes last"),
        (("run.h5", "dead-share"), "name the figure with -o"),
        (("run.h5", "dead-share", "-o", "f.gif"), "f.gif: a figure is svg, png, pdf"),
        (("run.h5", "survival", "-o", "f.svg"), "at least two"),
        (("a.h5", "b.h5", "states", "-o", "f.svg"), "of one run, not of 2"),
        (("run.h5", "states", "-o", "f.svg", "--width", "7"), "width 7"),
        (("run.h5",), "Missing argument 'KIND'"),
        (("states",), "Missing argument 'RUN...'"),
        ((), "Missing argument 'KIND'"),
    ],
)
def test_what_makes_no_sense_is_one_line(nla, opened, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = nla("plot", *arguments)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_written_over_and_nothing_is_left_of_a_figure_that_failed(
    nla, opened, tmp_path, monkeypatch
):
    kept = tmp_path / "run.svg"
    kept.write_text("a recording")
    assert nla("plot", kept, "states", "-o", kept).code == 2
    assert kept.read_text() == "a recording"
    out = tmp_path / "f.svg"
    out.write_text("before")
    monkeypatch.setattr(drawing, "open_runs", lambda *_, **__: (run(rows=False),))
    assert nla("plot", "run.json", "evidence", "-o", out).code == 2
    assert out.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2


def test_runs_on_different_data_are_no_series_unless_that_is_allowed(monkeypatch):
    from dataclasses import replace

    runs = [replace(each, data={"digest": str(k)}) for k, each in enumerate(series(2))]
    monkeypatch.setattr(drawing, "open_runs", lambda *_, **__: tuple(runs))
    with pytest.raises(UsageError, match="other data"):
        package.plot(["a", "b"], "survival")
    assert package.plot(["a", "b"], "survival", different_data=True).kind == "survival"


def test_the_themes_and_formats_of_the_options_are_those_of_the_figures():
    assert tuple(theme.THEMES) == options.THEMES
    assert saving.FORMATS == options.FORMATS
    with pytest.raises(UsageError, match="no theme 'sepia'; there are light, dark"):
        package.plot("run.h5", "states", theme="sepia")


def test_a_shell_completes_kinds_and_files():
    context = group.commands["plot"].make_context("plot", ["x"], resilient_parsing=True)
    runs = next(each for each in group.commands["plot"].params if each.name == "runs")
    assert [item.value for item in runs.shell_complete(context, "dead-share-")] == ["dead-share-over-time"]
    assert [item.type for item in runs.shell_complete(context, "epoch")] == ["file"]
    assert {item.value for item in runs.shell_complete(context, "")} > set(KINDS)
