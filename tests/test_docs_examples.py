"""The pages of docs/ are run as they are written, each in a folder that holds the sample models.

A page that needs more is run by a test of its own, which names it: the gate's, for one.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from documents import SHELL, Block, blocks

from nla.figures.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TESTS = [
    path.read_text()
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    if path.name != Path(__file__).name
]
RUN = {
    page.name: [b for b in blocks(page.read_text()) if b.language in ("python", *SHELL) and b.not_run is None]
    for page in PAGES
    if not any(f"docs/{page.name}" in text for text in TESTS)
}
"""By page, what is run here."""
EXPECTED = json.loads((ROOT / "sample_models" / "expected" / "series" / "dying_series.json").read_text())


def imported(code: str) -> set[str]:
    """The libraries that a block of Python imports, a package within one under its own name too."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    extra = ["tensorboard"] if any(name.startswith("torch.utils.tensorboard") for name in names) else []
    return {name.partition(".")[0] for name in [*names, *extra]}


def missing(block: Block) -> set[str]:
    """The libraries that a block needs and that are not installed."""
    return (
        {name for name in imported(block.code) if find_spec(name) is None}
        if block.language == "python"
        else set()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a page is run: the sample models, and a command `nla` of this Python."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    (tmp_path / ".bin").mkdir()
    command = tmp_path / ".bin" / "nla"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nla "$@"\n')
    command.chmod(0o755)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    """What the pages' commands see; MLflow's numbers go to files, which need no server."""
    return {
        **os.environ,
        **{"PATH": f"{folder / '.bin'}:{os.environ['PATH']}", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        **{"MLFLOW_TRACKING_URI": f"file:{folder / 'mlruns'}", "MLFLOW_ALLOW_FILE_STORE": "true"},
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.mark.parametrize("page", [name for name, runnable in RUN.items() if runnable])
def test_a_page_runs_as_it_is_written(page: str, folder: Path) -> None:
    lacking = set().union(*map(missing, RUN[page]))
    tried = [block for block in RUN[page] if not missing(block)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "run_document.py")],
        cwd=folder,
        input=json.dumps([[block.language, block.code] for block in tried]),
        capture_output=True,
        text=True,
        check=False,
        env=environment(folder),
    )
    assert done.returncode == 0, done.stderr
    for block, printed in zip(tried, json.loads(done.stdout), strict=True):
        if block.prints is not None:
            assert lines(printed) == lines(block.prints)
    for library, check in RESULTS.get(page, {}).items():
        if library not in lacking:
            check(folder)
    if lacking:
        pytest.skip(f"all but the blocks that need {', '.join(sorted(lacking))} ran: not installed")


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def dead_shares() -> dict[str, list[float]]:
    """What is expected of the sample series: by site, then over all, the dead share at each epoch."""
    run = EXPECTED["checkpoints"]
    shares = {
        site["name"].strip("/"): [e["sites"][k]["counts"]["dead"] / site["neurons"] for e in run]
        for k, site in enumerate(run[0]["sites"])
    }
    return {**shares, "all": [sum(s["counts"]["dead"] for s in e["sites"]) / 96 for e in run]}


def check_tensorboard(folder: Path) -> None:
    """Every layer's dead share is in the event file, at every epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs" / "tensorboard"))
    events.Reload()
    for name, shares in dead_shares().items():
        written = events.Scalars(f"dead share/{'all layers' if name == 'all' else name}")
        assert [event.step for event in written] == list(range(13))
        assert [event.value for event in written] == pytest.approx(shares, abs=1e-6)  # float32
    assert sum(events.Histograms("activation rate/fc2/Relu")[-1].histogram_value.bucket) == 32


def check_mlflow(folder: Path) -> None:
    """Every layer's dead share is a metric, at every epoch, and the artifacts are there."""
    for name, shares in dead_shares().items():
        (file,) = folder.glob(f"mlruns/*/*/metrics/dead_share/{name}")
        rows = [line.split() for line in file.read_text().splitlines()]
        assert [(int(row[2]), float(row[1])) for row in rows] == list(enumerate(shares))
    names = {path.name for path in folder.glob("mlruns/*/*/artifacts/*")}
    assert names == {"inspection.json", "report.html"}
    (document,) = folder.glob("mlruns/*/*/artifacts/inspection.json")
    assert json.loads(document.read_text())["summary"]["dead"] == 96 * dead_shares()["all"][-1]


RESULTS: dict[str, dict[str, Callable[[Path], None]]] = {
    "dashboards.md": {"tensorboard": check_tensorboard, "mlflow": check_mlflow}
}
"""What a page's blocks leave behind, by page and library."""


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_page_on_figures_names_every_kind() -> None:
    text = (ROOT / "docs" / "figures.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", text, flags=re.M) == list(KINDS)


def test_the_readme_s_commands_on_several_checkpoints_run_as_they_are_written(folder: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## Over training") : readme.index("## What the states mean")]
    (commands,) = (block.code for block in blocks(section))
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment(folder),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "holds" in done.stdout
    assert json.loads((folder / "tracking.json").read_text())["schema"] == "nla/tracking/1"
    assert {path.name for path in folder.iterdir()} >= {"report.html", "rates.svg", "runs"}
