"""Imports point one way: the table of allowed imports, read against what stands in the files.

It mirrors section 3 of the design: files, graph, statistics, lifecycle, rendering, and the API over all of them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nla"

FOUNDATION = {"errors", "activations", "site"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "activations": {"errors"},
    "site": {"errors", "activations"},
    "isolation": {"errors"},
    "checkpoint": FOUNDATION,
    "architectures": FOUNDATION | {"checkpoint"},
    "graph": FOUNDATION | {"checkpoint"},
    "theory": {"errors", "activations"},
    "statistics": {"errors"},
    "recording": FOUNDATION | {"statistics", "recording_document", "recording_file", "checkpoint.atomic"},
    "recording_document": {"errors", "statistics"},
    "recording_file": {"errors", "statistics"},
    "calibration": FOUNDATION,
    "lifecycle": FOUNDATION | {"statistics"},
    "manifest": FOUNDATION | {"statistics", "lifecycle"},
    "verification": FOUNDATION | {"lifecycle", "manifest"},
    "replay": FOUNDATION
    | {"architectures", "calibration", "checkpoint", "graph", "statistics", "recording", "verification"},
    "surgery": FOUNDATION | {"architectures", "checkpoint", "graph", "manifest", "replay"},
    "weights": FOUNDATION
    | {"architectures", "checkpoint", "graph", "lifecycle.plain"}
    | {"theory", "surgery.structure", "surgery.weights"},
    "certificates": {"errors", "activations"},
    "lowering": FOUNDATION | {"certificates", "graph"},
    "gradients": FOUNDATION
    | {"architectures", "calibration", "checkpoint", "graph", "replay", "theory", "weights"}
    | {"surgery.structure"},
    "certifying": FOUNDATION | {"calibration", "certificates", "checkpoint", "graph", "lowering", "replay"},
    "outcomes": {"lifecycle", "manifest", "surgery.report", "verification"},
    "runs": FOUNDATION | {"statistics", "lifecycle"},
    "tracking": {"errors", "runs", "lifecycle", "statistics", "theory.intervals"},
    "figures": {"errors", "runs", "tracking", "lifecycle", "statistics", "theory"},
    "gate": {"errors", "runs", "lifecycle", "site", "tracking"},
    "rendering": FOUNDATION
    | {"lifecycle", "manifest", "outcomes", "surgery.report", "verification", "weights.results"}
    | {"certificates.results", "figures", "gate", "runs", "theory", "tracking", "weights.initialisation"},
    "verbs": FOUNDATION
    | {
        *("calibration", "isolation", "lifecycle", "manifest", "outcomes", "recording", "verification"),
        *("certificates", "figures", "gate", "runs", "theory", "tracking"),
        *("checkpoint.atomic", "checkpoint.masks_file", "checkpoint.staging"),
        *("checkpoint.work_folder", "rendering.page"),
        *("surgery.carried", "surgery.report", "weights.initialisation", "weights.results"),
    },
    "api": {"verbs"},
    "cli": {
        "api",
        "errors",
        "figures",
        "lifecycle",
        "outcomes",
        "rendering",
        "verification",
        "checkpoint.atomic",
        "weights.results",
        *("tracking.comparison", "tracking.difference"),
    },
    "__init__": FOUNDATION
    | {"api", "lifecycle", "manifest", "outcomes", "surgery.report", "verification", "weights.results"}
    | {"certificates.results", "figures.figure", "gate.results", "theory", "tracking"},
    "__main__": {"cli"},
}
"""For each part of nla, the parts (or single modules of them) that it may import."""

LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "activations": {"numpy"},
    "site": {"numpy"},
    "isolation": {"numpy"},
    "checkpoint": {"numpy", "onnx", "google", "safetensors", "ml_dtypes"},
    "architectures": {"numpy", "onnx"},
    "graph": {"numpy", "onnx", "onnx_ir"},
    "theory": {"numpy"},
    "statistics": {"numpy"},
    "recording": {"numpy"},
    "recording_document": set(),
    "recording_file": {"numpy", "h5py"},
    "calibration": {"numpy", "onnx", "h5py", "safetensors", "ml_dtypes", "PIL", "tokenizers"},
    "replay": {"numpy", "numba", "llvmlite", "onnx", "onnx_ir", "onnxruntime"},
    "lifecycle": {"numpy", "pandas", "pyarrow"},
    "manifest": {"numpy"},
    "verification": {"numpy"},
    "surgery": {"numpy", "onnx", "onnx_ir"},
    "weights": {"numpy", "onnx_ir"},
    "certificates": {"numpy", "scipy"},
    "lowering": {"numpy", "onnx", "onnx_ir"},
    "certifying": {"numpy"},
    "gradients": {"numpy", "onnx_ir"},
    "outcomes": set(),
    "runs": {"numpy"},
    "tracking": {"numpy"},
    "figures": {"numpy", "altair", "vl_convert"},
    "gate": {"numpy"},
    "rendering": {"jinja2", "numpy", "pyarrow", "rich", "vl_convert"},
    "verbs": {"numpy"},
    "api": set(),
    "cli": {"click", "rich"},
    "__init__": set(),
    "__main__": set(),
}
"""For each part of nla, the libraries that it may import."""

PURE = (
    "activations",
    "site",
    "theory",
    "certificates",
    "statistics",
    "lifecycle",
    "runs",
    "figures",
    "gate",
    "tracking",
    "manifest",
    "verification",
    "outcomes",
    "rendering",
)
FILES_AND_MODELS = {"onnx", "onnxruntime", "onnx_ir", "h5py"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "nla":
                yield from (f"nla.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                yield node.module or ""


def files(part: str) -> list[Path]:
    """The files of one part of nla: a package's, or the module's own."""
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def allowed(module: str, part: str) -> bool:
    """Whether `part` may import the nla module of this dotted name."""
    _, target, *rest = module.split(".")
    return target == part or target in ALLOWED[part] or ".".join([target, *rest[:1]]) in ALLOWED[part]


def test_every_part_of_nla_has_its_row_in_both_tables():
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert parts == set(ALLOWED) == set(LIBRARIES)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_within_nla_point_one_way(part):
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(part)
        for module in imports(path)
        if module.startswith("nla.") and not allowed(module, part)
    ]
    assert not wrong


@pytest.mark.parametrize("part", LIBRARIES)
def test_a_library_is_imported_only_where_the_table_says(part):
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(part)
        for module in imports(path)
        if module.partition(".")[0] not in sys.stdlib_module_names | {"nla"} | LIBRARIES[part]
    ]
    assert not wrong


def test_the_tables_keep_the_promises_of_the_design():
    for part in PURE:
        assert not LIBRARIES[part] & FILES_AND_MODELS
    assert [part for part in LIBRARIES if "onnxruntime" in LIBRARIES[part]] == ["replay"]
    assert not {"torch", "sklearn", "tensorflow"} & set().union(*LIBRARIES.values())


def test_the_table_of_imports_has_no_circle():
    def reaches(part: str) -> set[str]:
        below = {name.partition(".")[0] for name in ALLOWED[part]}
        return below.union(*(reaches(name) for name in below))

    for part in ALLOWED:
        assert part not in reaches(part)


@pytest.mark.parametrize("part", PURE)
def test_the_mathematics_loads_without_any_model_library(part):
    modules = [".".join(["nla", *path.relative_to(PACKAGE).with_suffix("").parts]) for path in files(part)]
    code = (
        f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not FILES_AND_MODELS & set(done.stdout.split())
