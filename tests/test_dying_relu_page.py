"""docs/dying-relu.md: every count in its tables against the independent reproduction of the study, and nla today."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import nla

PAGE = (Path(__file__).resolve().parents[1] / "docs/dying-relu.md").read_text()
WIDTH = 256
REFERENCES = {"relu": "relu", "leaky_relu": "leaky", "elu": "elu"}
LINE = re.compile(r"^\| (\d+) \| ([\d.]+(?: \| [\d.]+){5}) \|$", re.M)


def tables() -> list[dict[int, list[str]]]:
    """The tables of shares by layer and epoch, in the order of the page: by epoch the six cells."""
    found = [
        {int(epoch): cells.split(" | ") for epoch, cells in LINE.findall(block)}
        for block in re.split(r"\n\n", PAGE)
    ]
    return [table for table in found if table]


PLACES = [
    ("relu", "test", range(13)),
    ("relu", "s1000", range(13)),
    *((family, data, (0, 1, 6, 12)) for family in ("leaky_relu", "elu") for data in ("test", "s1000")),
]
"""What each table holds: the activation, the data, the epochs."""


@pytest.fixture(scope="module")
def references(shared):
    folder = shared / "acceptance/reference"
    read = {
        family: json.loads((folder / f"series_{name}.json").read_text())
        for family, name in REFERENCES.items()
    }
    return {family: {each["epoch"]: each for each in series["epochs"]} for family, series in read.items()}


@pytest.mark.shared
@pytest.mark.parametrize(("number", "place"), list(enumerate(PLACES)), ids=lambda value: str(value)[:24])
def test_every_count_of_a_table_is_the_reproductions(references, number, place):
    family, data, epochs = place
    table = tables()[number]
    assert list(table) == list(epochs)
    for epoch, cells in table.items():
        counts = references[family][epoch][data]["rho0"]
        if family == "relu":
            assert counts == references[family][epoch][data]["dead"]
        assert cells[:5] == [f"{100 * count / WIDTH:.1f}" for count in counts], epoch
        assert [round(float(cell) / 100 * WIDTH) for cell in cells[:5]] == counts
        assert cells[5] == f"{100 * sum(counts) / (5 * WIDTH):.1f}"


@pytest.mark.shared
def test_the_accuracies_are_the_reproductions(references):
    said = re.findall(r"^\| (\w+) \| (0\.\d{4}) \|", PAGE, re.M)
    expected = [f"{references[family][12]['test']['acc']:.4f}" for family in REFERENCES]
    assert [accuracy for _, accuracy in said] == expected
    assert f"accuracy={','.join(expected)}" in PAGE


@pytest.mark.shared
def test_deaths_and_revivals_are_a_count_by_hand(shared):
    silent = np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz")["rho_by_epoch"] == 0
    rows = re.findall(r"^\| L(\d) \| ([\d,]+) \| ([\d,]+) \| [\d.]+ \|$", PAGE, re.M)
    dead, back = silent[1:12].sum((0, 2)), (silent[1:12] & ~silent[2:13]).sum((0, 2))
    assert [(int(k) - 1, int(d.replace(",", "")), int(b.replace(",", ""))) for k, d, b in rows] == [
        (k, dead[k], back[k]) for k in range(5)
    ]
    died, revived = (~silent[1] & silent[12]).sum(), (silent[1] & ~silent[12]).sum()
    assert f"{died} neurons died and {revived} revived" in PAGE


@pytest.mark.shared
def test_compare_gives_the_counts_of_the_page_today(shared, references):
    x = np.load(shared / "data/mnist_train_first1000.npz")["x"].reshape(-1, 784).astype(np.float32)
    runs = [
        nla.inspect(shared / f"models/dying-relu/{family}/epoch12.onnx", x / np.float32(255), in_process=True)
        for family in REFERENCES
    ]
    seen = nla.compare(runs, name=list(REFERENCES))
    for family in REFERENCES:
        expected = references[family][12]["s1000"]
        assert [layer.never_positive for layer in seen[family].layers] == expected["rho0"]
        assert [layer.dead for layer in seen[family].layers] == expected["dead"]


def test_the_page_names_no_machine_and_leaves_no_place_empty():
    assert "{{" not in PAGE
    assert not re.search(r"(?<![\w.])/(?:home|work|tmp|Users)/", PAGE)


def test_every_picture_of_the_page_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    assert len(pictures) == 5
    folder = Path(__file__).resolve().parents[1] / "docs"
    assert all((folder / picture).is_file() for picture in pictures)
