"""What each action ensures, on every kind of layer, with onnxruntime as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from weight_actions import NETS, act

from nla.activations import Activation

every_net = pytest.mark.parametrize("name", NETS)


def tolerance(name: str) -> float:
    return 2e-2 if name == "float16" else 2e-5


@every_net
def test_a_masked_unit_is_silent_and_outputs_are_what_they_were(tmp_path, name):
    done = act(tmp_path, "mask", NETS[name])
    assert done.refused == []
    before, after = done.values("y")[0]
    np.testing.assert_allclose(after, before, atol=tolerance(name))
    was, now = done.units("a")
    assert np.all(now[list(NETS[name].dead)] == 0)
    others = [unit for unit in range(4) if unit not in NETS[name].dead]
    np.testing.assert_array_equal(now[others], was[others])
    assert np.all(done.units("z")[1][list(NETS[name].dead)] == 0)


@every_net
def test_a_reset_unit_fires_and_outputs_are_what_they_were(tmp_path, name):
    net = NETS[name]
    done = act(tmp_path, "reset", net, scheme="he", seed=5, means=[0.0, 0.0])
    assert done.refused == []
    before, after = done.values("y")[0]
    np.testing.assert_allclose(after, before, atol=tolerance(name))
    was, now = done.units("a")
    assert (now[list(net.dead)] > 0).any(1).all()
    others = [unit for unit in range(4) if unit not in net.dead]
    np.testing.assert_array_equal(now[others], was[others])


@every_net
def test_a_shift_adds_its_number_to_z_for_every_input(tmp_path, name):
    done = act(
        tmp_path, "shift", NETS[name], [2, 0], delta=[0.75, -0.5], zero_outgoing=False, target_rate=0.1
    )
    assert done.refused == []
    expected = done.units("z")[0].copy()
    expected[2] += 0.75
    expected[0] -= 0.5
    np.testing.assert_allclose(done.units("a")[1], np.maximum(expected, 0), atol=tolerance(name), rtol=1e-5)


@every_net
def test_a_shift_of_a_silent_unit_with_zero_outgoing_keeps_the_outputs(tmp_path, name):
    done = act(tmp_path, "shift", NETS[name], delta=[3e4, 3e4], zero_outgoing=True, target_rate=0.1)
    assert done.refused == []
    before, after = done.values("y")[0]
    np.testing.assert_allclose(after, before, atol=tolerance(name))
    assert (done.units("a")[1][list(NETS[name].dead)] > 0).any(1).all()


@every_net
def test_a_flip_turns_the_sign_of_z_exactly(tmp_path, name):
    done = act(tmp_path, "flip", NETS[name], range(4))
    assert done.refused == []
    before, after = done.units("z")
    np.testing.assert_array_equal(after, -before)


@every_net
@pytest.mark.parametrize("to", ["LeakyRelu", "Elu", "Gelu", "Silu"])
def test_a_swap_computes_the_new_activation_of_the_same_z(tmp_path, name, to):
    done = act(tmp_path, "swap", NETS[name], range(4), to=to)
    assert done.refused == []
    phi = Activation.named("Swish" if to == "Silu" else to)
    np.testing.assert_allclose(
        done.units("a")[1], phi.value(done.units("z")[0]), atol=tolerance(name), rtol=1e-3
    )
    assert [output.name for output in done.after.graph.output] == ["y"]


@every_net
def test_a_strip_raises_z_on_inputs_that_are_not_negative(tmp_path, name, monkeypatch):
    import weight_actions

    monkeypatch.setattr(
        weight_actions, "feeds", lambda proto, size: {k: np.abs(v) for k, v in _feeds(proto, size).items()}
    )
    done = act(tmp_path, "strip", NETS[name], range(4), fraction=0.4)
    assert done.refused == []
    before, after = done.units("z")
    assert (after >= before - 1e-4 * np.abs(before)).all()
    assert (after.mean(1) > before.mean(1)).all() or name == "float16"


def _feeds(proto, size):
    from site_graphs import feeds

    return feeds(proto, size)
