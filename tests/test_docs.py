"""The documentation is kept true: what it tells people to type is what nla takes."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from documents import nla_commands, shell_lines

import nla
from nla.cli.app import nla as group

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    path for folder in (".", "docs", "sample_models") for path in sorted((ROOT / folder).glob("*.md"))
]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def parse(arguments: list[str]) -> None:
    """Parse as the command line would, without running anything; raises click.ClickException."""
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:], resilient_parsing=False)


def examples() -> list[tuple[str, list[str]]]:
    from_help = [line for command in group.commands.values() for line in getattr(command, "examples", ())]
    lines = {"help": [*from_help, *group.examples]}
    lines.update({path.name: shell_lines(path.read_text()) for path in DOCUMENTS})
    return [(where, arguments) for where, each in lines.items() for arguments in nla_commands(each)]


@pytest.mark.parametrize(("where", "arguments"), examples(), ids=lambda value: str(value)[:60])
def test_every_command_that_the_documents_show_is_one_that_nla_takes(where, arguments):
    if arguments[0] in ("--help", "--version"):
        return
    try:
        parse(arguments)
    except click.exceptions.Exit:
        assert {"--help", "-h", "--list"} & set(arguments)
    except click.ClickException as fault:
        pytest.fail(f"{where}: nla {' '.join(arguments)}: {fault.format_message()}")


def test_the_readme_begins_with_the_two_commands_that_the_makefile_has():
    lines = shell_lines((ROOT / "README.md").read_text())
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert any(line.split("#")[0].strip() == f"make {target}" for line in lines[:4]), target
        assert re.search(rf"^{target}:", makefile, flags=re.M)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_command_has_a_line_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in group.commands:
        assert f"nla {name}" in readme, name


def test_every_public_name_has_a_docstring_that_ends_as_a_sentence():
    for name in set(nla.__all__) - {"__version__"}:
        first = (getattr(nla, name).__doc__ or "").strip().split("\n\n")[0]
        assert first.endswith((".", ":")), name


def test_every_module_says_what_it_is_for():
    for path in (ROOT / "nla").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if tree.body:
            assert ast.get_docstring(tree), path


def test_every_promise_of_security_names_its_tests():
    promises, _, _ = (ROOT / "SECURITY.md").read_text().partition("## Not promised")
    for promise in promises.split("\n**")[1:]:
        assert re.search(r"Tested by\s+`tests/", promise), promise.partition("**")[0]


def test_paths_that_security_and_contributing_name_exist():
    for name in ("SECURITY.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        for path in re.findall(r"`((?:nla|tests|schemas|sample_models|benchmarks)/[\w/.-]+)`", text):
            assert (ROOT / path).exists(), f"{name}: {path}"
        for path, test in re.findall(r"`(tests/[\w/.-]+\.py)::(\w+)`", text):
            assert f"def {test}(" in (ROOT / path).read_text(), f"{name}: {path}::{test}"


def test_the_readme_shows_what_the_demo_prints():
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"```text\n(model .*?)\n```", readme, flags=re.S)
    assert shown is not None
    recipe = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if "nla inspect $(SAMPLE)" in line
    )
    arguments = shlex.split(recipe.strip().replace("$(SAMPLE)", "sample_models/dying_relu"))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "nla", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=UTF8,
    )
    assert _lasting(done.stdout) == _lasting(shown[1])


def test_the_readme_shows_what_prune_prints(tmp_path):
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"```sh\n(nla prune sample_models.*?)\n```\n\n```text\n(.*?)\n```", readme, flags=re.S)
    assert shown is not None
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(shown[1])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=UTF8,
    )
    assert _whichever_kernel(done.stdout) == _whichever_kernel(shown[2])


def _whichever_kernel(text: str) -> str:
    """The lasting lines as one; a processor may sum a narrower layer in another order, and move its last bits."""
    words = " ".join(" ".join(_lasting(text)).split())
    moved = r"moved by \S+ at most \([^)]*\), within the tolerance of \S+, the same top-1 on 100 %"
    return re.sub(rf"the same bits|{moved}|largest difference \d\S*e-\d+", "unchanged", words)


def test_the_readme_s_steps_of_pruning_run_as_they_are_written(tmp_path):
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## Prune and repair") : readme.index("## Over training")]
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    for arguments in nla_commands(shell_lines(section)):
        done = subprocess.run(
            [sys.executable, "-m", "nla", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), arguments
    original = ROOT / "sample_models/dying_relu/model.onnx"
    assert (tmp_path / "restored.onnx").read_bytes() == original.read_bytes()
    _check_masks(section, original, tmp_path)


def _check_masks(section: str, original: Path, folder: Path) -> None:
    """The block of torch leaves the outputs of the sample's module as they are; skips without torch."""
    torch = pytest.importorskip("torch")
    import numpy as np
    import onnx

    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(original).graph.initializer}
    layers = sorted({name.partition(".")[0] for name in weights})
    model = torch.nn.Module()
    for layer in layers:
        linear = torch.nn.Linear(*weights[f"{layer}.weight"].shape[::-1])
        linear.load_state_dict({n: torch.tensor(weights[f"{layer}.{n}"].copy()) for n in ("weight", "bias")})
        model.add_module(layer, linear)

    def run(x: Any) -> Any:
        for layer in layers[:-1]:
            x = torch.relu(getattr(model, layer)(x))
        return getattr(model, layers[-1])(x)

    x = torch.tensor(np.load(original.parent / "data.npz")["x"])
    before = run(x).detach()
    block = re.search(r"```python\n(import torch.*?)```", section, flags=re.S)
    assert block is not None
    here = os.getcwd()
    try:
        os.chdir(folder)
        exec(block[1], {"model": model})
    finally:
        os.chdir(here)
    after = run(x)
    assert torch.allclose(before, after, atol=1e-3)
    after.sum().backward()
    assert (model.fc1.weight.grad.abs().sum(1) == 0).sum() >= 100


UTF8 = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}


def _lasting(text: str) -> list[str]:
    """The lines that are the same on every machine: all but how the replay went and how long runs took."""
    timed = ("replay ", "  ms, batch")
    return [line.rstrip() for line in text.strip().splitlines() if not line.startswith(timed)]
