"""Files spoilt at random: a result or one clear line, never a traceback of ours, never without an end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile import edits, files, models
from safetensors.numpy import save_file

import nla

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("fuzz.py")


def holds(name: str, folder: Path) -> None:
    """Runs one property of fuzz.py in a child."""
    paths = [str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "ORT_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM), name, str(folder)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


@pytest.mark.parametrize("name", ["model_bytes", "model_cuts", "model_graphs", "model_runs"])
def test_spoilt_models(name, tmp_path):
    holds(name, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["manifest_bytes", "manifest_values", "recording_values", "undo_bytes", "spoilt_models", "spoilt_edits"],
)
def test_spoilt_edits(name, tmp_path):
    edits.prepared(tmp_path)
    holds(name, tmp_path)


def test_spoilt_data(tmp_path):
    models.saved(tmp_path, models.parsed())
    labels = np.arange(12) % 3
    models.data(tmp_path, x=files.GOOD, y=labels)
    np.savez_compressed(tmp_path / "packed.npz", x=files.GOOD, y=labels)
    np.save(tmp_path / "data.npy", files.GOOD)
    save_file({"x": files.GOOD, "y": labels}, tmp_path / "data.safetensors")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("x", data=files.GOOD, chunks=(3, 4), compression="gzip", shuffle=True)
        file["y"] = labels
    holds("data_bytes", tmp_path)


def test_spoilt_recordings(tmp_path, sample):
    nla.inspect(
        sample / "model.onnx", sample / "data.npz", limit=20, held_out=0.2, output=tmp_path / "run.h5"
    )
    holds("recording_bytes", tmp_path)
