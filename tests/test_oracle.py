"""The oracle against numbers worked by hand and a reference: it judges nla, so it is judged first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
import pytest


def test_effective_rank_of_matrices_whose_rank_is_known() -> None:
    assert oracle.effective_rank(np.eye(8)) == pytest.approx(8)
    assert oracle.effective_rank(np.ones((5, 3))) == pytest.approx(1)
    assert oracle.effective_rank(np.diag([3.0, 1.0])) == pytest.approx(1.75477, abs=1e-5)
    assert oracle.effective_rank(np.zeros((4, 2))) == 0


def test_mutual_information_of_a_copy_a_constant_and_a_half_told_label() -> None:
    labels = np.array([0, 0, 1, 1])
    codes = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])
    assert oracle.mutual_information(codes, labels) == pytest.approx([np.log(2), 0, 0])
    told = oracle.mutual_information(np.array([[0], [1], [1], [1]]), labels)[0]
    cells = (
        np.log(2) / 4 + np.log(2 / 3) / 4 + np.log(4 / 3) / 2
    )  # 1/4, 1/4 and 1/2 over the products of margins
    assert told == pytest.approx(cells)


def test_upper_bound_of_none_one_and_all() -> None:
    bound = oracle.rate_upper_bound(np.array([0, 1, 10]), 10)
    assert bound[0] == pytest.approx(1 - 0.05**0.1)
    p = bound[1]  # the rate at which at most one of ten happens with probability 0.05
    assert (1 - p) ** 10 + 10 * p * (1 - p) ** 9 == pytest.approx(0.05)
    assert bound[2] == 1


def test_lifetime_sparseness_of_one_sample_only_and_of_all_alike() -> None:
    a = np.zeros((4, 1, 2))
    a[1, 0, 0], a[:, 0, 1] = 3, 2
    assert oracle.lifetime_sparseness(a, oracle.everywhere(a)) == pytest.approx([1, 0])


def test_padding_is_left_out() -> None:
    a = np.array([[[1.0], [9.0]], [[0.0], [3.0]]])
    counted = np.array([[True, False], [True, True]])
    assert oracle.positive(a, counted).tolist() == [2]
    assert oracle.fired_samples(a, counted).tolist() == [2]
    assert oracle.moments(a, counted)["mean"] == pytest.approx([4 / 3])
    assert oracle.sample_means(a, counted).ravel().tolist() == [1, 1.5]


def test_silence_is_blamed_on_the_first_site() -> None:
    z = np.array([[[-1.0]], [[1.0]], [[-1.0]]])
    later = np.array([[[-1.0]], [[-1.0]], [[1.0]]])
    everywhere = oracle.everywhere(z)
    assert oracle.fell_silent([(z, everywhere), (later, everywhere)]) == [2, 1]


@pytest.mark.shared
def test_the_dying_relu_network_is_seen_as_the_reference_sees_it(shared: Path) -> None:
    reference = np.load(shared / "acceptance/reference/dying_relu_epoch12_t10k.npz")
    with np.load(shared / "data/mnist_t10k.npz") as images:
        x, y = images["x"].reshape(-1, 784).astype(np.float32) / np.float32(255), images["y"].astype(np.int64)
    model = shared / "models/dying-relu/relu/epoch12.onnx"
    name = first_relu(model)
    a = oracle.replay(model, {"x": x}, [name])[name][:, None]
    counted = oracle.everywhere(a)
    assert np.array_equal(oracle.positive(a, counted), reference["fire_count"][0])
    assert np.allclose(oracle.dormancy_score(a, counted), reference["dormancy"][0], rtol=2e-4)
    bits = (a[:, 0] > 0).astype(np.int64)
    assert np.allclose(oracle.mutual_information(bits, y), reference["mi_nats"][0], atol=1e-6)
    assert oracle.effective_rank(a[:, 0]) == pytest.approx(reference["erank"][0], rel=1e-4)


def first_relu(model: Path) -> str:
    """Output of the first Relu in the graph."""
    import onnx

    return str(next(node.output[0] for node in onnx.load(model).graph.node if node.op_type == "Relu"))
