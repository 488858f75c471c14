"""`nla.inspect` on built graphs against whole-data NumPy: counts exactly, floats to float32's rounding."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import graphs_dense as dense
import graphs_sequence as sequence
import graphs_spatial as spatial
import numpy as np
import onnx
import oracle
import pytest
from builders import Built, Expected

MLP_STYLES = ("gemm", "gemm_plain", "matmul_add", "add_matmul", "matmul", "identity", "constant", "inputs")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "grouped", "depthwise", "transposed", "relu6", "batch_norm")
GRAPHS: dict[str, Callable[[], Built]] = {
    **{f"activation_{name}": partial(dense.activation, name) for name in dense.ACTIVATIONS},
    **{f"mlp_{style}": partial(dense.mlp, style=style) for style in MLP_STYLES},
    "left_matmul": dense.transposed_weights,
    "tokens": partial(dense.tokens, False),
    "tokens_flattened": partial(dense.tokens, True),
    **{kind: partial(spatial.conv, kind) for kind in CONVOLUTIONS},
    "residual": spatial.residual,
    "nhwc": spatial.nhwc,
    "fixed_batch": spatial.fixed_batch,
    **{f"gated_{phi.lower()}": partial(sequence.gated, phi) for phi in ("Swish", "Relu", "Gelu", "Sigmoid")},
    "attention": sequence.attention,
    **{
        f"{kind.lower()}_{n}": partial(sequence.recurrent, kind, n) for kind in sequence.GATES for n in (1, 2)
    },
}
VARIED = ("mlp_gemm", "tokens_flattened", "conv2d", "fixed_batch", "gated_swish", "attention", "lstm_2")
"""Graphs on which batch sizes, kernels and shards are varied too."""

needs_api = pytest.mark.skipif(
    importlib.util.find_spec("nla.api") is None, reason="nla.api is not written yet"
)


@cache
def build(name: str) -> Built:
    """The built graph of that name; the same object for every test."""
    return GRAPHS[name]()


@cache
def truth(name: str) -> dict[str, np.ndarray]:
    """[samples, positions, neurons] of every site by plain onnxruntime."""
    return build(name).values()


def inspect(built: Built, folder: Path, **options: Any) -> Any:
    """nla's inspection of a built graph, in this process."""
    import nla

    path = folder / "model.onnx"
    onnx.save(built.model, path)
    mask = None if built.mask is None else built.mask
    defaults = {
        "labels": built.labels,
        "mask": mask,
        "effective_rank": "exact",
        "in_process": True,
        "threads": 1,
    }
    return nla.inspect(path, built.feeds, **{**defaults, **options})


@pytest.fixture(scope="session")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """nla's inspection of the built graph of that name at the defaults; one run for all tests."""
    return cache(lambda name: inspect(build(name), tmp_path_factory.mktemp(name)))


def find(inspection: Any, site: Expected) -> Any:
    """The result of an expected site, of the expected kind and layout."""
    names = [result.name for result in inspection.sites]
    assert site.name in names, f"{site.name} not in {names}; not understood: {inspection.not_understood}"
    result = inspection[site.name]
    assert (result.site.role, result.site.activation.name) == (site.role, site.activation)
    assert result.site.neurons == site.neurons
    return result


# The graphs themselves


@pytest.mark.parametrize("name", GRAPHS)
def test_built_graph_is_valid_and_its_planted_neurons_are_what_they_are_called(name: str) -> None:
    built = build(name)
    onnx.checker.check_model(built.model, full_check=True)
    for site in built.sites:
        a = truth(name)[site.name]
        got = oracle.moments(a, built.counted(site, a.shape[1]))
        assert a.shape[0] == built.samples
        assert a.shape[2] == site.neurons
        for unit in site.planted.get("dead", ()):
            assert max(abs(got["max"][unit]), abs(got["min"][unit])) < 1e-6
        for unit in site.planted.get("constant", ()):
            assert got["max"][unit] - got["min"][unit] < 1e-6 < abs(got["max"][unit])


# The sites


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_the_sites_are_those_of_the_construction(name: str, inspected: Callable[[str], Any]) -> None:
    inspection = inspected(name)
    assert [result.name for result in inspection.sites] == [site.name for site in build(name).sites]
    for site in build(name).sites:
        result = find(inspection, site)
        rank = result.site.rank
        if rank is not None and site.directions == 1:
            assert result.site.channel_axis % rank == site.channel_axis % rank


# The numbers


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_counts_are_exact(name: str, inspected: Callable[[str], Any]) -> None:
    assert_counts(name, inspected(name))


def assert_counts(name: str, inspection: Any) -> None:
    """Every integer of every site."""
    built = build(name)
    for site in built.sites:
        measured, (a, counted) = find(inspection, site).measurements, observed(name, site)
        above = a - site.z_at_zero
        assert (measured.samples, measured.positions) == (built.samples, counted.sum())
        assert (measured.counted == counted.sum()).all()
        sure = np.abs(a[counted]).max(0) > 1e-6  # a shut gate is tiny, not zero: its sign is an accident
        sure |= np.abs(a[counted]).max(0) == 0
        assert np.array_equal(measured.positive[sure], oracle.positive(above, counted)[sure])
        assert np.array_equal(measured.fired_samples[sure], oracle.fired_samples(above, counted)[sure])
        at_most = (np.abs(a[counted]) > 1e-3 * (1 - 1e-3)).sum(0)
        at_least = (np.abs(a[counted]) > 1e-3 * (1 + 1e-3)).sum(0)
        assert ((at_least <= measured.fired) & (measured.fired <= at_most)).all()


def observed(name: str, site: Expected) -> tuple[np.ndarray, np.ndarray]:
    """a and what is counted of it."""
    a = truth(name)[site.name]
    return a, build(name).counted(site, a.shape[1])


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_moments_and_scores_agree(name: str, inspected: Callable[[str], Any]) -> None:
    assert_floats(name, inspected(name))


def assert_floats(name: str, inspection: Any) -> None:
    """Every float of every site that needs no labels."""
    for site in build(name).sites:
        result, (a, counted) = find(inspection, site), observed(name, site)
        scale = np.abs(a[counted]).max()
        want = oracle.moments(a, counted)
        want["dormancy_score"] = oracle.dormancy_score(a, counted)
        want["activation_rate"] = oracle.activation_rate(a - site.z_at_zero, counted)
        if site.out_norm is not None:
            want["contribution_score"] = oracle.contribution_score(a, counted, site.out_norm)
        sure = np.abs(a[counted]).max(0) > 1e-6
        for column, values in want.items():
            got = result.columns[column]
            assert np.allclose(got[sure], values[sure], rtol=2e-5, atol=2e-6 * scale), (site.name, column)
        sparse = oracle.lifetime_sparseness(a, counted)[sure]
        assert np.allclose(result.columns["lifetime_sparseness"][sure], sparse, rtol=1e-4, atol=1e-5), (
            site.name
        )
        assert result.effective_rank == pytest.approx(oracle.effective_rank(a[counted]), rel=2e-4)
        assert result.measurements.effective_rank_exact


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_bounds_are_those_of_clopper_and_pearson(name: str, inspected: Callable[[str], Any]) -> None:
    inspection = inspected(name)
    for site in build(name).sites:
        result = find(inspection, site)
        fired = result.columns["fired_samples"]
        want = oracle.rate_upper_bound(fired, build(name).samples)
        assert np.allclose(result.columns["rate_upper_bound"], want, rtol=1e-7)


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_information_about_the_label_agrees(name: str, inspected: Callable[[str], Any]) -> None:
    built, inspection = build(name), inspected(name)
    for site in built.sites:
        result, (a, counted) = find(inspection, site), observed(name, site)
        codes = responses(a - site.z_at_zero, a, counted, result.measurements.labels)
        sure = np.abs(a[counted]).max(0) > 1e-6
        for column, values in {
            "mutual_information": oracle.mutual_information(codes, built.labels),
            "p_value": oracle.g_test(codes, built.labels),
        }.items():
            assert np.allclose(result.columns[column][sure], values[sure], atol=1e-6), (site.name, column)


def responses(above: np.ndarray, a: np.ndarray, counted: np.ndarray, labels: Any) -> np.ndarray:
    """[samples, neurons] codes of the response that the document names."""
    if labels.response == "z > 0":
        assert a.shape[1] == 1
        return (above[:, 0] > 0).astype(np.int64)
    assert labels.response == "binned mean activation"
    return np.searchsorted(labels.bin_edges, oracle.sample_means(a, counted), side="left")


@needs_api
@pytest.mark.parametrize("name", GRAPHS)
def test_states_follow_from_the_definitions(name: str, inspected: Callable[[str], Any]) -> None:
    inspection = inspected(name)
    for site in build(name).sites:
        result = find(inspection, site)
        for state, units in site.planted.items():
            assert set(result.states[list(units)]) == {state}, (site.name, state)
        if site.activation == "Relu":
            for state, members in oracle.rectifier_states(*observed(name, site)).items():
                assert np.flatnonzero(result.states == state).tolist() == members, (site.name, state)
        assert sum(result.counts.values()) == site.neurons


@needs_api
@pytest.mark.parametrize(
    "name", [n for n in GRAPHS if n.startswith(("mlp_gemm", "conv2d", "tokens", "nhwc"))]
)
def test_margin_of_the_dead_is_that_of_z(name: str, inspected: Callable[[str], Any]) -> None:
    inspection, built = inspected(name), build(name)
    for site in built.sites:
        pre = str(site.pre)
        result, z = find(inspection, site), built.values([pre])[pre]
        want = oracle.margin(z, built.counted(site, z.shape[1]))
        dead = result.states == "dead"
        assert np.allclose(result.columns["margin"][dead], want[dead], rtol=1e-4)


@needs_api
@pytest.mark.parametrize("name", ["mlp_gemm", "mlp_matmul", "residual"])
def test_silent_samples_are_counted(name: str, inspected: Callable[[str], Any]) -> None:
    built, inspection = build(name), inspected(name)
    for site in built.sites:
        a, counted = observed(name, site)
        silent = oracle.fell_silent([(a, counted)])[0]
        assert find(inspection, site).measurements.silent_samples == silent


# However it is cut


@needs_api
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
@pytest.mark.parametrize("kernel", ["numpy", "auto"])
@pytest.mark.parametrize("name", VARIED)
def test_batch_size_and_kernel_change_nothing(
    name: str, kernel: str, batch_size: int | str, tmp_path: Path
) -> None:
    inspection = inspect(build(name), tmp_path, batch_size=batch_size, kernel=kernel, threads=2)
    assert_counts(name, inspection)
    assert_floats(name, inspection)


@needs_api
@pytest.mark.parametrize("name", VARIED)
def test_merged_shards_equal_one_pass(name: str, tmp_path: Path) -> None:
    import nla

    runs = []
    for k in (2, 1, 3):
        runs.append(tmp_path / f"part{k}.h5")
        inspect(build(name), tmp_path, shard=(k, 3), output=runs[-1])
    merged = nla.merge(runs, in_process=True)
    assert_counts(name, merged)
    assert_floats(name, merged)


@needs_api
def test_a_second_split_and_the_first_hold_every_sample_once(tmp_path: Path) -> None:
    built = build("mlp_gemm")
    inspection = inspect(built, tmp_path, held_out=0.3)
    for site in built.sites:
        result, (a, counted) = find(inspection, site), observed("mlp_gemm", site)
        assert result.held_out is not None
        assert result.measurements.samples + result.held_out.samples == built.samples
        both = result.measurements.positive + result.held_out.positive
        assert np.array_equal(both, oracle.positive(a, counted))


@needs_api
def test_without_the_mask_padding_is_counted(tmp_path: Path) -> None:
    built = build("tokens_flattened")
    site = built.sites[0]
    result = find(inspect(built, tmp_path, mask="none"), site)
    a, _ = observed("tokens_flattened", site)
    assert result.measurements.positions == a.shape[0] * a.shape[1]
    assert np.array_equal(result.measurements.positive, oracle.positive(a, oracle.everywhere(a)))
    assert result.states[4] != "dead"  # a neuron that only padding wakes
