"""Writes the fixtures: a checkpoint of every family and what transformers computes of it. Needs torch and transformers.

python tests/architectures/make_fixtures.py
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformer_cases import FIXTURE_CASES, FIXTURES, feeds


def main() -> None:
    """Writes every fixture anew."""
    from transformer_reference import compute, make, padding_of, save

    for name, case in FIXTURE_CASES.items():
        folder = FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        model = make(case)
        save(model, folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "model.safetensors").chmod(0o644)
        given = feeds(case, padding_of(model))
        made = compute(model, case, given)
        arrays = {f"input/{key}": values for key, values in given.items()}
        arrays |= {f"output/{key}": values for key, values in made.outputs.items()}
        arrays |= {f"neurons/{at}": values for at, values in enumerate(made.neurons)}
        arrays |= {f"heads/{at}": values for at, values in enumerate(made.heads)}
        np.savez_compressed(folder / "reference.npz", **arrays)


if __name__ == "__main__":
    main()
