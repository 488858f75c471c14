"""What the verbs that compare runs take for a run, for a rule, and for an option."""

from __future__ import annotations

from pathlib import Path

import pytest
from series import run, site

import nla
from nla.errors import RecordingError, UsageError
from nla.verbs import gating
from nla.verbs.runs import listed, open_runs


def test_one_run_or_several_in_any_container():
    assert listed("a.h5") == ["a.h5"]
    assert listed(Path("a.h5")) == [Path("a.h5")]
    assert listed(name for name in ("a.h5", "b.h5")) == ["a.h5", "b.h5"]


@pytest.mark.parametrize("given", [5, None, b"a.h5", ["a.h5", None], [b"a.h5"]])
@pytest.mark.parametrize("verb", [nla.track, nla.compare, nla.check, lambda runs: nla.plot(runs, "states")])
def test_what_is_no_run_is_refused_in_one_line(verb, given):
    with pytest.raises(UsageError, match="is no run: expected the path of a recording"):
        verb(given)


def test_diff_and_a_baseline_refuse_it_too():
    with pytest.raises(UsageError, match="None is no run"):
        nla.diff("a.h5", None)
    with pytest.raises(UsageError, match="5 is no run"):
        nla.check("a.h5", baseline=5)


@pytest.mark.parametrize("verb", [nla.track, nla.compare, lambda runs, **options: nla.diff(*runs, **options)])
def test_an_option_spelt_wrongly_is_not_passed_over(verb):
    with pytest.raises(TypeError, match="unexpected keyword argument 'critera'"):
        verb(["a.h5", "b.h5"], critera={})


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_a_checkpoint_is_told_from_a_broken_run(name, tmp_path):
    (tmp_path / name).write_bytes(bytes(range(200)))
    with pytest.raises(
        RecordingError, match="is a checkpoint, whose states are not known before data is replayed"
    ):
        open_runs([tmp_path / name], rows=False)


def test_one_rule_needs_no_list_and_what_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(gating, "open_runs", lambda *given, **options: (run("r", site("x", "daaa")),))
    assert not nla.check("r.h5", rules={"metric": "dead", "max": "20%"}).held
    with pytest.raises(UsageError, match="rule 1 is 5: expected a mapping"):
        nla.check("r.h5", rules=[5])


def test_one_name_needs_no_list():
    from nla.verbs.comparing import _names

    assert (_names("dead"), _names(["dead", "active"]), _names(())) == (("dead",), ("dead", "active"), ())
