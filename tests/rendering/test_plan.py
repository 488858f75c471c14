"""A plan as text: what must be there, and that it fits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nla.manifest.document import Action, Declined, Manifest
from nla.rendering.plan import print_plan
from nla.rendering.terminal import console


def action(name: str, site: str, kind: str = "remove", units: int = 3, **effect: Any) -> Action:
    saved = {"units": units, "parameters": 3000, "bytes": 12000, "multiply_adds": 45000}
    parameters = {"fraction": 0.2} if kind == "strip" else {}
    return Action(
        name,
        kind,
        site,
        tuple(range(units)),
        parameters,
        {"neurons": 256},
        {**(saved if kind == "remove" else {"units": units}), "expect": f"what {kind} does", **effect},
    )


def manifest(*actions: Action, **settings: Any) -> Manifest:
    given = {
        "data": {"samples": 10_000, "held_out_samples": 2000},
        "policy": {"name": "prune", "options": {}},
        "effect": {"units": 3, "parameters": 3000, "bytes": 12000, "multiply_adds": 45000},
        "worth": {"words": ["0 of 10,000 samples moved any of these 3 units."]},
        **settings,
    }
    checkpoint = {"path": "net.onnx", "digest": "0" * 64, "bytes": 1867392, "parameters": 466698}
    return Manifest(checkpoint, actions=actions, **given)


def rendered(planned: Manifest, width: int = 100, path: str | None = None) -> str:
    paper = io.StringIO()
    print_plan(planned, path, console(paper, width))
    return paper.getvalue()


def test_every_action_has_a_line_with_what_it_saves():
    text = rendered(manifest(action("a1", "relu"), action("a2", "relu2", "strip")))
    line = next(line for line in text.splitlines() if line.startswith("relu "))
    assert line.split() == ["relu", "remove", "3", "256", "3,000", "12", "kB", "45,000"]
    assert "2 sites" in text
    assert "remove: 3 units. What remove does." in text
    assert "0 of 10,000 samples moved any of these 3 units." in text
    assert "466,698 parameters" in text
    assert "2,000 held out" in text


def test_repairs_save_nothing_and_show_no_empty_columns():
    text = rendered(manifest(action("a1", "relu", "strip")))
    assert "multiply-adds" not in text
    assert "strip: 3 units. What strip does." in text


def test_what_was_declined_stands_with_its_reason_the_largest_first():
    declined = [Declined("fold", f"site{k}", tuple(range(k)), f"reason {k}") for k in range(1, 10)]
    text = rendered(manifest(action("a1", "relu"), declined=tuple(declined), notes=("take care",)))
    assert "Declined: 45 units" in text
    assert "fold 9 units of site9: reason 9" in text
    assert "reason 1" not in text
    assert "and 3 more" in text
    assert "take care" in text


def test_numbers_are_never_cut_in_a_narrow_terminal():
    text = rendered(manifest(action("a1", "/model/layers.0/mlp/act/Mul_output_0")), 60)
    assert "3,000" in text
    assert "multiply-adds" not in text


def test_nothing_to_do_is_said():
    text = rendered(manifest(), path="m.json")
    assert "nothing to do" in text
    assert "nla apply" not in text


def test_the_next_command_can_be_pasted():
    assert "nla apply 'my plan.json' net.onnx -o edited.onnx" in rendered(
        manifest(action("a1", "r")), path="my plan.json"
    )


@pytest.mark.parametrize("width", [60, 80, 100])
@given(names=st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=4))
def test_no_line_is_wider_than_the_terminal_whatever_the_names(names, width):
    actions = [action(f"a{k}", name) for k, name in enumerate(names)]
    declined = (Declined("fold", names[0], (1,), "a reason " * 20),)
    text = rendered(manifest(*actions, declined=declined), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
