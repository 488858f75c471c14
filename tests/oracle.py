"""An oracle that shares nothing with nla: plain onnxruntime, whole-data NumPy in float64, SciPy.

Every function of values takes `a` (or `z`) of shape [samples, positions, neurons] and `counted`, bool
[samples, positions], True where a position counts; results are [neurons] unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


# Replay


def replay(
    model: Path | onnx.ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    *,
    sample_axes: Mapping[str, int] | None = None,
    one_by_one: bool = False,
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, Floats]:
    """The named tensors as extra outputs of a plain session, float64, samples along axis 0 of each.

    Feeds hold all samples along axis 0; `constants` go in unchanged. `sample_axes` says where a tensor holds
    the samples if not first.
    """
    run = _session(model, names)
    count = len(next(iter(feeds.values())))
    batches = [slice(i, i + 1) for i in range(count)] if one_by_one else [slice(0, count)]
    parts: dict[str, list[Floats]] = {name: [] for name in names}
    for batch in batches:
        feed = {name: values[batch] for name, values in feeds.items()} | dict(constants or {})
        for name, value in zip(names, run(feed), strict=True):
            wide = np.asarray(value, np.float64)
            parts[name].append(np.moveaxis(wide, (sample_axes or {}).get(name, 0), 0))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _session(model: Path | onnx.ModelProto, names: Sequence[str]) -> Callable[[dict[str, Any]], list[Any]]:
    """A function from feeds to the named tensors."""
    proto = (
        onnx.load(model) if isinstance(model, Path) else onnx.ModelProto.FromString(model.SerializeToString())
    )
    have = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda feed: session.run(list(names), feed)


def by_position(tensor: Floats, channel_axis: int, samples: int, unit_size: int = 1) -> Floats:
    """[samples, positions, neurons] of a tensor whose axis 0 is samples, or samples and tokens flattened.

    `channel_axis` is counted in `tensor`, after the samples were moved to the front. With `unit_size` above
    1 a neuron is the Euclidean norm of so many adjacent channels.
    """
    last = np.moveaxis(tensor, channel_axis, -1)
    rows = last.reshape(samples, -1, last.shape[-1])
    if unit_size == 1:
        return rows
    return np.asarray(np.linalg.norm(rows.reshape(*rows.shape[:2], -1, unit_size), axis=-1))


def everywhere(a: Floats) -> Bools:
    """A mask that counts every position."""
    return np.ones(a.shape[:2], bool)


# Statistics of design.md, section 2


def positive(z: Floats, counted: Bools) -> Ints:
    """Positions with z > 0."""
    return np.asarray(((z > 0) & counted[..., None]).sum((0, 1)))


def fired_samples(z: Floats, counted: Bools) -> Ints:
    """Samples with z > 0 at one position at least."""
    return np.asarray(((z > 0) & counted[..., None]).any(1).sum(0))


def activation_rate(z: Floats, counted: Bools) -> Floats:
    """Share of positions with z > 0, in [0, 1] (lifecycle paper, eq. 2)."""
    return np.asarray(positive(z, counted) / counted.sum())


def firing_frequency(a: Floats, counted: Bools, threshold: float = 1e-3) -> Floats:
    """Share of positions with |a| above the threshold, in [0, 1]."""
    return np.asarray((np.abs(a[counted]) > threshold).mean(0))


def moments(a: Floats, counted: Bools) -> dict[str, Floats]:
    """mean, mean_abs, std (population), min and max."""
    rows = a[counted]
    return {
        "mean": rows.mean(0),
        "mean_abs": np.abs(rows).mean(0),
        "std": rows.std(0),
        "min": rows.min(0),
        "max": rows.max(0),
    }


def dormancy_score(a: Floats, counted: Bools) -> Floats:
    """E|a_j| over the site's mean E|a_k| (eq. 11); 0 for a site that is all zero."""
    size = np.abs(a[counted]).mean(0)
    return np.asarray(size / size.mean() if size.any() else np.zeros_like(size))


def contribution_score(a: Floats, counted: Bools, out_norm: Floats) -> Floats:
    """E|a|·‖w_out‖ with the normalisation of the dormancy score."""
    size = np.abs(a[counted]).mean(0) * out_norm
    return np.asarray(size / size.mean() if size.any() else np.zeros_like(size))


def margin(z: Floats, counted: Bools) -> Floats:
    """-max(z) / sd(z), population; how far from waking. Infinite where z never varies."""
    rows = z[counted]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-rows.max(0) / rows.std(0))


def saturated_share(slope: Floats, counted: Bools, flat: float = 0.01) -> Floats:
    """Share of positions with |φ′| <= flat; `slope` is φ′(z)."""
    return np.asarray((np.abs(slope[counted]) <= flat).mean(0))


def effective_rank(rows: Floats) -> float:
    """exp of the entropy of the normalised singular values of [rows, neurons], uncentred (eq. 6); or 0."""
    singular = np.linalg.svd(rows, compute_uv=False)
    if singular.max() == 0:
        return 0.0
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def lifetime_sparseness(a: Floats, counted: Bools) -> Floats:
    """Vinje and Gallant (2000) over the samples' mean |a|: (1 - (Σr/n)² / (Σr²/n)) / (1 - 1/n)."""
    r = sample_means(np.abs(a), counted)
    n = len(r)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((1 - r.mean(0) ** 2 / (r**2).mean(0)) / (1 - 1 / n))


def sample_means(a: Floats, counted: Bools) -> Floats:
    """[samples, neurons] mean over the counted positions; samples without any are left out."""
    some = counted.any(1)
    total = np.where(counted[..., None], a, 0).sum(1)[some]
    return np.asarray(total / counted[some].sum(1)[:, None])


# With labels


def joint_counts(codes: Ints, labels: Ints) -> Ints:
    """[labels, codes] contingency table of one neuron."""
    table = np.zeros((labels.max() + 1, codes.max() + 1), np.int64)
    np.add.at(table, (labels, codes), 1)
    return table


def mutual_information(codes: Ints, labels: Ints) -> Floats:
    """Plug-in mutual information (eq. 7) in nats of the label and each column of [samples, neurons]."""
    return np.array([_plug_in(joint_counts(column, labels)) for column in codes.T])


def _plug_in(table: Ints) -> float:
    joint = table / table.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / product[seen])).sum())


def g_test(codes: Ints, labels: Ints) -> Floats:
    """p-value of the G-test of independence for each column of [samples, neurons]; 1 where constant."""
    return np.array([_g_test(joint_counts(column, labels)) for column in codes.T])


def _g_test(table: Ints) -> float:
    table = table[table.any(1)][:, table.any(0)]
    if 1 in table.shape:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue)


# Evidence


def rate_upper_bound(fired: Ints, samples: int, alpha: float = 0.05) -> Floats:
    """One-sided Clopper–Pearson upper bound on the rate at confidence 1 - alpha; 1 - alpha^(1/n) for none."""
    bound = stats.beta.ppf(1 - alpha, fired + 1, np.maximum(samples - fired, 1e-300))
    return np.asarray(np.where(fired == samples, 1.0, bound))


def fell_silent(values: Sequence[tuple[Floats, Bools]]) -> list[int]:
    """For each site in graph order, samples it silences wholly (z <= 0 everywhere) and no earlier one had."""
    gone: Bools | None = None
    killed = []
    for z, counted in values:
        silent = ~((z > 0) & counted[..., None]).any((1, 2))
        killed.append(int((silent if gone is None else silent & ~gone).sum()))
        gone = np.asarray(silent if gone is None else gone | silent)
    return killed


def rectifier_states(a: Floats, counted: Bools) -> dict[str, list[int]]:
    """dead, constant and dormant neurons of a rectifier site, in this order, at the default criteria."""
    got = moments(a, counted)
    largest = np.maximum(np.abs(got["max"]), np.abs(got["min"]))
    dead = largest == 0
    constant = ~dead & (got["max"] - got["min"] <= 1e-5 * largest)
    dormant = ~dead & ~constant & (dormancy_score(a, counted) <= 0.025)
    members = {"dead": dead, "constant": constant, "dormant": dormant}
    return {state: np.flatnonzero(those).tolist() for state, those in members.items()}
