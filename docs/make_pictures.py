"""Draws the README's pictures from the sample models: `python docs/make_pictures.py`.

Needs the extras `report` and `test` (a browser takes the picture of the page), and a Chromium.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import nla

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
SERIES = Path("sample_models", "dying_series")
ONE = Path("sample_models", "dying_relu")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def main() -> None:
    """Inspects, draws the figures of the series, and takes the picture of the page of one run."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        Path("sample_models").symlink_to(ROOT / "sample_models")  # pages show paths as they were given
        runs = []
        for model in sorted(SERIES.glob("epoch*.onnx")):
            runs.append(f"{model.stem}.h5")
            nla.inspect(model, SERIES / "data.npz", output=runs[-1])
        for kind in ("trajectories", "dead-share-over-time"):
            nla.plot(runs, kind, FIGURES / f"series-{kind}.svg")
        nla.inspect(ONE / "model.onnx", ONE / "data.npz", held_out=0.2, output="run.h5")
        nla.report(
            ["run.h5"], "report.html", title="A digits classifier, trained at too high a rate", theme="light"
        )
        photograph(Path("report.html"), FIGURES / "report.png")


def photograph(page: Path, picture: Path) -> None:
    """The page at 1,200 pixels, from the verdict to the first figures."""
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browser, args=list(QUIET)) as chromium,
    ):
        view = chromium.new_page(viewport={"width": 1200, "height": 1900})
        view.goto(page.resolve().as_uri())
        view.wait_for_timeout(3000)
        view.screenshot(path=picture)


if __name__ == "__main__":
    main()
