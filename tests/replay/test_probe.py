"""The sample axis of every tensor is found by running, and a model that mixes its samples is run one by one."""

from __future__ import annotations

import numpy as np
import pytest

from nla.activations import Activation
from nla.errors import ModelError
from nla.replay.probe import probe
from nla.site import Site

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(5, 4, 6)).astype(np.float32)  # [sample, token, channel]


def site(name: str, neurons: int = 6, axes: tuple[int, ...] = (-1,)) -> Site:
    return Site(name, "dense", Activation.named("Relu"), neurons, axes)


def probed(*functions, batchable: bool = True, samples: int = 5, sites: tuple[Site, ...] | None = None):
    sites = sites or tuple(site(f"t{k}") for k in range(len(functions)))
    return probe(
        sites, samples, lambda where: [f(DATA[where]) for f in functions], batchable=batchable, varying=False
    )


def test_batches_are_used_where_they_equal_single_runs() -> None:
    seen = probed(lambda x: x, lambda x: x.reshape(-1, 6), lambda x: x.transpose(1, 0, 2).reshape(-1, 6))
    assert seen.batched
    plain, flat, time_first = seen.layouts
    assert (plain.sample_axis, plain.flattened) == (0, False)
    assert (flat.flattened, flat.sample_major) == (True, True)
    assert (time_first.flattened, time_first.sample_major) == (True, False)
    assert all(layout.per_sample for layout in seen.layouts)


def test_one_position_a_sample_needs_no_group_of_its_own() -> None:
    assert not probed(lambda x: x[:, 0]).layouts[0].per_sample


def test_the_sample_axis_need_not_be_the_first() -> None:
    seen = probed(lambda x: x.transpose(1, 0, 2))
    assert seen.layouts[0].sample_axis == 1
    assert not seen.layouts[0].flattened


def test_a_model_that_mixes_samples_is_run_one_by_one() -> None:
    seen = probed(lambda x: x - x.mean(axis=0, keepdims=True) * (len(x) > 1))
    assert not seen.batched
    assert "one by one" in seen.reason
    assert seen.layouts[0].sample_axis is None


def test_a_model_that_refuses_a_batch_is_run_one_by_one() -> None:
    def refuses(x: np.ndarray) -> np.ndarray:
        if len(x) > 1:
            raise ModelError("batch size is 1")
        return x

    seen = probed(refuses)
    assert not seen.batched
    assert "does not run on 3 samples" in seen.reason


def test_a_fixed_batch_is_not_tried() -> None:
    assert not probed(lambda x: x, batchable=False).batched
    assert not probed(lambda x: x, samples=1).batched


def test_rounding_of_another_kernel_is_not_a_difference() -> None:
    assert probed(lambda x: x * np.float32(1 + 1e-6 * len(x))).batched


def test_a_promise_that_the_tensor_does_not_keep_is_an_error() -> None:
    with pytest.raises(ModelError, match="7 channels in the graph, 6 in its tensor"):
        probed(lambda x: x, sites=(site("t", 7),))
