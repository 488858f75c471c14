"""`nla --help` is quick because it imports little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "numpy",
    "rich",
    "onnx",
    "onnxruntime",
    "onnx_ir",
    "h5py",
    "safetensors",
    "numba",
    "google",
    "PIL",
    "tomllib",
}
SHOW = "import sys; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"


def imported_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["inspect", "--help"], ["--version"], ["inspect"]])
def test_help_and_usage_errors_import_nothing_heavy(arguments):
    code = (
        f"import sys\nsys.argv = ['nla', *{arguments!r}]\nfrom nla.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert imported_by(code) & HEAVY == set()


def test_importing_nla_imports_nothing_heavy():
    assert imported_by("import nla") & HEAVY == set()
    assert "click" not in imported_by("import nla")


def test_signals_are_handled_before_click_is_imported():
    code = "import nla.cli, nla.cli.endings"
    assert "click" not in imported_by(code)


@pytest.mark.parametrize("how", ["module", "script"])
def test_modules_in_the_current_folder_are_not_run(tmp_path, how):
    for name in ("json", "numpy", "click", "rich", "tomllib", "signal", "onnx"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py was run')")
    script = Path(sys.executable).with_name("nla")
    if how == "script" and not script.exists():
        pytest.skip("the nla script is not installed beside this Python")
    command = [sys.executable, "-m", "nla"] if how == "module" else [str(script)]
    done = subprocess.run([*command, "criteria"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dormancy_threshold" in done.stdout
