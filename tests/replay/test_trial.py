"""A result is tried before it gets its name: what libraries refuse is never left behind."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from nla.replay.trial import try_out

GOOD = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }'
NO_SUCH_OPERATOR = GOOD.replace("Relu", "Frobnicate")
WRONG_SHAPE = GOOD.replace("=> (float[n, 4] y)", "=> (float[n, 5] y)")


def saved(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def test_a_good_model_passes_without_a_word(tmp_path: Path):
    phases: list[str] = []
    made, source = saved(tmp_path, "made.onnx", GOOD), saved(tmp_path, "source.onnx", GOOD)
    assert try_out(made, source, 100, lambda event: phases.append(str(event["phase"]))) == []
    levels = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
    assert all(any(level in phase for phase in phases) for level in levels)


@pytest.mark.parametrize("broken", [NO_SUCH_OPERATOR, WRONG_SHAPE])
def test_what_only_the_result_fails_at_is_a_defect_of_nla(tmp_path: Path, broken: str):
    made, source = saved(tmp_path, "made.onnx", broken), saved(tmp_path, "source.onnx", GOOD)
    with pytest.raises(RuntimeError, match="surgery made a model that fails at"):
        try_out(made, source, 100, lambda event: None)


@pytest.mark.parametrize("broken", [NO_SUCH_OPERATOR, WRONG_SHAPE])
def test_what_the_original_fails_at_too_is_a_note(tmp_path: Path, broken: str):
    made, source = saved(tmp_path, "made.onnx", broken), saved(tmp_path, "source.onnx", broken)
    notes = try_out(made, source, 100, lambda event: None)
    assert notes
    assert all("refuses the original too" in note for note in notes)


def test_a_large_model_is_loaded_once_and_the_note_says_so(tmp_path: Path):
    phases: list[str] = []
    made, source = saved(tmp_path, "made.onnx", GOOD), saved(tmp_path, "source.onnx", GOOD)
    (note,) = try_out(made, source, 600 << 20, lambda event: phases.append(str(event["phase"])))
    assert "over 500 MiB" in note
    assert sum("onnxruntime" in phase for phase in phases) == 1
