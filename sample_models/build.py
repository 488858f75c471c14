"""Builds every sample model, its data and its expected verdict: `python sample_models/build.py`.

Needs numpy, scikit-learn (for its digits) and onnx. The results are committed; CI does not build them again,
for training in floating point gives other weights on other machines.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from making import compressed, dense, sequence, series, spatial
from making.story import trim, write

ROOT = Path(__file__).resolve().parent
STORIES = {
    make.__name__: make for make in (*dense.STORIES, *compressed.STORIES, *spatial.STORIES, *sequence.STORIES)
}


STATES = ("dead", "constant", "saturated", "dormant")
README = """# Sample models

Tiny trained checkpoints with their data; each tells one story. `expected/` says what is true of every neuron:
planted by construction, or computed in float64 NumPy over all of the data, never a recording of nla's own
output. Samples for which rounding to float32 could change a sign were left out, so counts are exact.

    nla inspect sample_models/dying_relu/model.onnx --data sample_models/dying_relu/data.npz

`data.npz` holds an array for each model input and labels `y`; `gated_block` wants `--mask attention_mask`.
Counts are over all sites. The accuracy is that on samples which were not trained on. All of it, this file
included, is written by `build.py` from scikit-learn's digits (UCI ML hand-written digits, CC BY 4.0) and from
construction.

| folder | story | neurons | dead | constant | saturated | dormant | accuracy |
|---|---|---:|---:|---:|---:|---:|---:|
"""


def row(expected: dict[str, Any]) -> str:
    """One line of the README's table."""
    name = expected["model"].split("/")[0]
    totals = [sum(site["counts"][state] for site in expected["sites"]) for state in STATES]
    neurons = sum(site["neurons"] for site in expected["sites"])
    cells = [f"`{name}`", expected["tells"], neurons, *totals, f"{expected['accuracy']['unseen']:.1%}"]
    return f"| {' | '.join(map(str, cells))} |"


def series_section(expected: dict[str, Any]) -> str:
    """The README's chapter on the series."""
    samples, first = expected["samples"], expected["trained_on"]
    about = (
        f"{series.TELLS}. One network with three hidden layers of 32, as initialised (`epoch00.onnx`) and after "
        f"each of {series.EPOCHS} epochs; data that suit all checkpoints, {samples:,} samples, of which the first "
        f"{first:,} were trained on; and in `accuracy.csv` the accuracy on the others. The runs in `leaky_relu/` "
        "and `elu/` differ in the activation only, and have the same data. `expected/series/` says which neurons "
        "are dead in each checkpoint, and how many died, revived or stayed as they were from one to the next."
    )
    return f"""
## `{series.NAME}`: a training run, epoch by epoch

{textwrap.fill(about, 112, break_on_hyphens=False)}

    cd sample_models/{series.NAME}
    nla track epoch*.onnx --data data.npz
    nla compare epoch12.onnx leaky_relu/epoch12.onnx elu/epoch12.onnx --data data.npz --columns accuracy.csv

{series.table(expected)}

What is dead in the first layer stays so, because its inputs never change; deeper, some fire again, because the
layers below them move.
"""


def main(names: list[str]) -> None:
    """Builds the named stories, or all of them, and writes the README from all that is expected."""
    (ROOT / "expected").mkdir(exist_ok=True)
    for name in names or [*STORIES, series.NAME]:
        if name == series.NAME:
            series.build(ROOT)
        else:
            write(trim(STORIES[name]()), ROOT)
    written = [ROOT / "expected" / f"{name}.json" for name in STORIES]
    rows = [row(json.loads(path.read_text())) for path in written if path.exists()]
    told = ROOT / "expected" / "series" / f"{series.NAME}.json"
    chapter = series_section(json.loads(told.read_text())) if told.exists() else ""
    (ROOT / "README.md").write_text(README + "\n".join(rows) + "\n" + chapter)
    print("\n".join(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
