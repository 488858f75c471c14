"""An inspection as text: what must be there, and that it fits, whatever the names and the terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspections import inspection, measurements, site_result

from nla.lifecycle.diagnosis import diagnose
from nla.lifecycle.results import STATES, Finding
from nla.rendering.bars import MARKS, share_bar
from nla.rendering.terminal import console
from nla.rendering.text import SYNTHETIC, evidence, print_inspection
from nla.site import NotUnderstood


class Page(io.TextIOWrapper):
    """A page of text in an encoding, which may be a terminal."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def rendered(seen, width: int | None = 100, **page: object) -> str:
    paper = Page(**page)
    print_inspection(seen, console(paper, width))
    return paper.text()


def finding(number: int, severity: float) -> Finding:
    return Finding(
        symptom=f"symptom {number}",
        diagnosis="a diagnosis " * 20,
        intervention="do this",
        expected="that",
        evidence="162 of 256 neurons",
        command=f"nla neurons run.h5 --site {number}",
        severity=severity,
    )


def test_every_site_has_a_line_and_the_totals_stand_at_the_foot():
    text = rendered(
        inspection(
            [
                site_result("relu1", {"dead": 72, "constant": 3, "active": 181}),
                site_result(
                    "relu2", {"dead": 40, "saturated": 2, "dormant": 5, "specialised": 9, "active": 200}
                ),
            ]
        )
    )
    cells = {line.split()[0]: line.split()[3:10] for line in text.splitlines() if line.startswith("relu")}
    assert cells == {
        "relu1": ["256", "72", "3", "0", "0", "0", "181"],
        "relu2": ["256", "40", "0", "2", "5", "9", "200"],
    }
    (foot,) = [line for line in text.splitlines() if line.startswith("2 sites")]
    assert foot.split()[2:9] == ["512", "112", "3", "2", "5", "9", "381"]


@pytest.mark.parametrize("width", [60, 76, 80, 100, 130, 200])
def test_two_hundred_sites_with_long_names_fit_the_width(width):
    sites = [
        site_result(
            f"/model/decoder/layers.{i}/mlp/activation_function/Mul_output_0",
            {"dead": 1000 + i, "active": 1152, "born": 7, "unknown": 1},
            role="mlp_post",
            activation="HardSwish",
            effective_rank=1234.5,
        )
        for i in range(200)
    ]
    text = rendered(inspection(sites), width)
    assert max(map(len, text.splitlines())) <= width
    rows = [line for line in text.splitlines() if "layers" in line or line.startswith(("…", "/model"))]
    assert len(rows) >= 200
    assert "1,199" in text
    assert "born" in text


def test_states_that_are_rare_have_a_column_only_where_they_occur():
    text = rendered(inspection([site_result("relu", {"active": 4})]))
    assert "born" not in text
    assert "unknown" not in text
    assert "born" in rendered(inspection([site_result("relu", {"active": 4, "born": 1})]))


def test_the_bound_is_told_in_a_sentence():
    seen = inspection([site_result("relu", {"dead": 413, "active": 867}, samples=10_000)])
    sentences = list(evidence(seen))
    # With all 1,280 neurons held jointly: 1 - (0.05 / 1280) ** (1 / 10000) = 0.0010145
    assert "0 of 10,000 samples fired these 413" in sentences[1]
    assert "with 95 % confidence none fires on more than 0.1 % of samples" in sentences[1]
    assert "They hold 8,260 of 466,698 parameters (1.8 %)" in sentences[0]


def test_one_dead_neuron_is_told_in_the_singular():
    sentences = list(evidence(inspection([site_result("relu", {"dead": 1, "active": 3})])))
    assert sentences[0].startswith("1 of 4 neurons is dead (25 %).")
    assert "fired it; with 95 % confidence it fires on no more than" in sentences[1]


def test_no_dead_neuron_is_good_news():
    assert list(evidence(inspection([site_result("relu", {"active": 3})]))) == ["None of 3 neurons is dead."]


def test_the_held_out_split_has_its_say():
    columns = {"held_out_fired": np.array([0, 4, 9])}
    seen = site_result("relu", {"dead": 2, "active": 1}, columns=columns)
    object.__setattr__(seen, "held_out", measurements(3, samples=25))
    assert "On 25 held-out samples 1 of them fires." in list(evidence(inspection([seen])))


def test_nan_and_infinity_are_named():
    sentences = " ".join(evidence(inspection([site_result("relu", {"active": 3}, nonfinite=7)])))
    assert "7 activations were NaN or infinite" in sentences
    assert "relu" in sentences


def test_a_dead_network_is_told():
    living = {"killed_samples": {"relu": 100}, "dead_layers": ["relu"], "network_dead": True}
    sentences = " ".join(evidence(inspection([site_result("relu", {"dead": 3})], living=living)))
    assert "100 samples are killed" in sentences
    assert "1 layer is silent for every sample: relu" in sentences
    assert "The network is dead" in sentences


def test_synthetic_data_are_said_first_and_again_in_any_width():
    data = {"path": None, "samples": 8, "synthetic": True}
    text = rendered(inspection([site_result("relu", {"active": 1})], data=data))
    assert text.splitlines()[0].strip() == SYNTHETIC


def test_findings_come_by_urgency_and_the_rest_is_counted():
    seen = inspection(
        [site_result("relu", {"active": 1})], findings=tuple(finding(i, i / 10) for i in range(8))
    )
    text = rendered(seen)
    assert re.findall(r"symptom (\d)", text) == ["7", "6", "5", "4", "3", "2", "1", "0"]
    assert text.count("cause") == 3
    assert "run    nla neurons run.h5 --site 7" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_command_to_paste_is_whole_however_long_its_names_are():
    name = "/encoder" * 60 + "/Relu"
    layers = site_result(name, {"dead": 9, "active": 1})
    seen = inspection([layers], checkpoint={"path": "/models" * 50 + "/m.onnx", "digest": "0" * 64})
    text = rendered(replace(seen, findings=diagnose(seen)))
    commands = [line for line in text.splitlines() if line.lstrip().startswith("run ")]
    assert any(f"--site {name} " in line for line in commands)
    assert any(f"nla inspect {'/models' * 50}/m.onnx --data" in line for line in commands)


def test_what_was_not_understood_is_named_and_counted():
    places = tuple(NotUnderstood(f"loop{i}", "Loop", "bodies of Loop are left alone") for i in range(9))
    text = rendered(inspection([site_result("relu", {"active": 1})], not_understood=places))
    assert "Not understood, and left alone: 9 places" in text
    assert "loop2" in text
    assert "loop3" not in text
    assert "and 6 more" in text


def test_a_model_without_sites_says_so():
    assert "no site was found" in rendered(inspection([]))


def test_casts_and_notes_are_told():
    data = {"path": "d.npz", "samples": 1, "account": ["x: uint8 cast to float32"]}
    text = rendered(
        inspection([site_result("relu", {"active": 1})], data=data, notes=("a branch was resolved",))
    )
    assert "x: uint8 cast to float32" in text
    assert "a branch was resolved" in text


def test_a_hostile_name_neither_paints_nor_marks_up():
    name = "[red]\x1b[31m\u202ename[/red]\n"
    seen = inspection(
        [site_result(name, {"active": 1})],
        not_understood=(NotUnderstood(name, name, name),),
        checkpoint={"path": name},
        notes=(name,),
        findings=(Finding(name, name, name, name, name, name),),
    )
    text = rendered(seen, 200)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]\\x1b[31m" in text


def test_without_unicode_the_table_is_plain_ascii():
    text = rendered(inspection([site_result("relu", {"dead": 5, "constant": 5})]), encoding="ascii")
    assert text.isascii()
    assert "#####=====" in text


def test_an_encoding_without_unicode_survives_any_name():
    page = Page("latin-1")
    page.reconfigure(errors="backslashreplace")
    print_inspection(inspection([site_result("名前", {"active": 1})]), console(page, 100))
    assert "\\u540d" in page.text()


def test_colour_only_on_a_terminal_and_never_against_no_color(monkeypatch):
    seen = inspection([site_result("relu", {"dead": 4, "active": 1})])
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[31m" in rendered(seen, terminal=True)
    assert "\x1b" not in rendered(seen)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in rendered(seen, terminal=True)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in rendered(seen, terminal=True)


def test_no_line_ends_in_spaces():
    text = rendered(inspection([site_result("relu", {"active": 1})], findings=(finding(0, 1.0),)))
    assert not [line for line in text.splitlines() if line != line.rstrip()]


@given(st.dictionaries(st.sampled_from(STATES), st.integers(0, 10**6), min_size=1), st.integers(1, 40))
def test_a_bar_is_as_wide_as_asked_and_within_one_mark_of_the_shares(counts, width):
    bar = share_bar(counts, width).plain
    assert len(bar) == width
    total = sum(counts.values())
    for state, number in counts.items():
        if total:
            assert abs(bar.count(MARKS[state]) - width * number / total) < 1


def test_every_state_has_a_mark_of_its_own():
    assert set(MARKS) == set(STATES)
    assert len(set(MARKS.values())) == len(MARKS)
