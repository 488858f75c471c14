"""How many of the neurons that are silent for every input does each method certify, at what cost, and is any wrong?

    python benchmarks/certificates.py --networks 3000

Random chains of 2 to 4 dense layers, widths 2 to 8, over boxes of random width. The truth of the piecewise linear ones
is a mixed-integer program written here, apart from nla (big-M, scipy's HiGHS, float64); of the smooth ones, which have
none, 20,000 inputs and their corners say which neurons wake. A bound below the truth, or a certificate of a neuron that
wakes, is printed and ends the run with 1. Set OPENBLAS_NUM_THREADS=1: the matrices are too small for threads.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from nla.activations import Activation
from nla.certificates.backward import tighten
from nla.certificates.interval import ranges
from nla.certificates.methods import METHODS
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.linear import Dense
from nla.certificates.question import Budget, Question
from nla.certificates.sets import Box

NEURONS = 3
SECONDS = 1.0
"""For one method and network: branching over smooth activations near the threshold need not end."""
TOLERANCE = 1e-6
"""Of the mixed-integer program that is taken for the truth."""
PIECES = {
    "Relu": (Activation.named("Relu"), 0.0, 0.0, ((0.0, 1.0),)),
    "LeakyRelu": (Activation.named("LeakyRelu", alpha=0.125), 0.0, 0.125, ((0.0, 0.875),)),
    "Clip": (Activation.named("Clip", min=0.0, max=1.0), 0.0, 0.0, ((0.0, 1.0), (1.0, -1.0))),
    "HardSigmoid": (
        Activation.named("HardSigmoid", alpha=0.25, beta=0.5),
        0.0,
        0.0,
        ((-2.0, 0.25), (2.0, -0.25)),
    ),
}
"""φ(z) = c + s·z + Σ change·relu(z - break): activation, c, s, (break, change) each."""
SMOOTH = {name: Activation.named(name) for name in ("Gelu", "Tanh", "Swish", "Softplus")}


def single(x):
    return np.asarray(x, np.float64).astype(np.float32).astype(np.float64)


def drawn(rng: np.random.Generator, activation: Activation) -> tuple[Network, Box]:
    """A chain whose last layer is asked about, and the box of its inputs."""
    widths = [*rng.integers(2, 9, size=rng.integers(2, 5)), NEURONS]
    ops, before = [], "x"
    for k in range(len(widths) - 1):
        last = k == len(widths) - 2
        weight = single(rng.normal(size=(widths[k + 1], widths[k])) * 1.5 / np.sqrt(widths[k]))
        bias = rng.normal(size=widths[k + 1]) * 0.5 - (rng.uniform(0, 2) if last else 0)
        ops.append(Dense((before,), f"z{k}", weight, single(bias)))
        if not last:
            ops.append(Activate((f"z{k}",), f"a{k}", activation))
            before = f"a{k}"
    target = Target("site", ops[-1].output, Activation.named("Relu"), 0, NEURONS)
    centre, width = rng.normal(size=widths[0]), rng.uniform(0.1, 1.5)
    return Network(tuple(ops), {"x": (int(widths[0]),)}, (target,)), Box(
        single(centre - width), single(centre + width)
    )


def truth(network: Network, box: Box, neuron: int, name: str) -> float:
    """The largest z of a neuron: each relu(y) a variable r with r ≥ 0, r ≥ y, r ≤ y - low(1 - d), r ≤ high·d."""
    _, constant, slope, pieces = PIECES[name]
    layers = [(op.weight, op.bias) for op in network.ops if isinstance(op, Dense)]
    lo, hi = [box.lo], [box.hi]
    integral = [0] * len(box.lo)
    rows: list[tuple[np.ndarray, float, float]] = []
    count = len(box.lo) + 2 * len(pieces) * sum(len(b) for _, b in layers[:-1])
    # every value as coefficients of all variables, and a constant
    now, offset = np.eye(len(box.lo), count), np.zeros(len(box.lo))
    made, ends = len(box.lo), (box.lo, box.hi)
    for W, b in layers[:-1]:
        z, z_offset = W @ now, W @ offset + b
        low = np.maximum(W, 0) @ ends[0] + np.minimum(W, 0) @ ends[1] + b - 1e-4
        high = np.maximum(W, 0) @ ends[1] + np.minimum(W, 0) @ ends[0] + b + 1e-4
        now, offset = slope * z, constant + slope * z_offset
        for point, change in pieces:
            for k in range(len(b)):
                r, d = np.zeros(count), np.zeros(count)
                r[made], d[made + 1] = 1.0, 1.0
                down, up, shift = min(low[k] - point, 0.0), max(high[k] - point, 0.0), z_offset[k] - point
                rows += [
                    (r - z[k], shift, np.inf),
                    (r - z[k] - down * d, -np.inf, shift - down),
                    (r - up * d, -np.inf, 0.0),
                ]
                lo.append(np.zeros(2))
                hi.append(np.array([up, 1.0]))
                integral += [0, 1]
                now[k] += change * r
                made += 2
        activation = PIECES[name][0]  # all of them rise
        ends = activation.value(low) - 1e-4, activation.value(high) + 1e-4
    W, b = layers[-1]
    limits = LinearConstraint(
        np.stack([row for row, _, _ in rows]), [r[1] for r in rows], [r[2] for r in rows]
    )
    found = milp(
        -(W[neuron] @ now),
        integrality=integral,
        bounds=Bounds(np.concatenate(lo), np.concatenate(hi)),
        constraints=limits,
        options={"mip_rel_gap": 0},
    )
    if found.status != 0:
        return np.nan
    return float(-found.fun + W[neuron] @ offset + b[neuron])


def sampled(rng: np.random.Generator, network: Network, box: Box) -> np.ndarray:
    """[neurons] the largest z of 20,000 inputs and of corners."""
    inside = box.lo + (box.hi - box.lo) * rng.random((20_000, *box.shape))
    corners = np.where(rng.random((512, *box.shape)) < 0.5, box.lo, box.hi)
    pre = network.targets[0].pre
    return network.forward({"x": np.concatenate([inside, corners])}, [pre])[pre].max(axis=0)


def bounds(network: Network, box: Box) -> Iterator[tuple[str, np.ndarray, int, float]]:
    """Method after method: its name, the bounds [neurons] reached so far, neurons it was asked about, and seconds."""
    best, known = np.full(NEURONS, np.inf), ranges(network, {"x": box})
    begun = time.perf_counter()
    tight = tighten(network, known, [op.output for op in network.ops if isinstance(op, Dense)][:-1])
    tightening = time.perf_counter() - begun
    for method in METHODS.values():
        places = np.flatnonzero(best > 0)
        held = tight if method.tightens else known
        begun = time.perf_counter()
        question = Question(network, held, network.targets[0].pre, places, budget=Budget(SECONDS))
        best[places] = np.fmin(best[places], method.bound(question))
        took = time.perf_counter() - begun + (tightening if method.name == "linear" else 0)
        yield method.name, best, len(places), took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=400, help="of all activations together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=np.inf, help="no network is begun after these")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    names = [*PIECES, *SMOOTH]
    silent, certified, seconds, asked = (
        defaultdict(int),
        defaultdict(int),
        defaultdict(float),
        defaultdict(int),
    )
    all_of, wrong, unknown = defaultdict(int), 0, 0
    started = time.monotonic()
    for trial in range(arguments.networks):
        if time.monotonic() - started > arguments.seconds:
            print(f"ended after {trial} networks")
            break
        name = names[trial % len(names)]
        activation = PIECES[name][0] if name in PIECES else SMOOTH[name]
        network, box = drawn(rng, activation)
        exact = sampled(rng, network, box)
        if name in PIECES:
            solved = np.array([truth(network, box, k, name) for k in range(NEURONS)])
            unknown += int(np.isnan(solved).sum())
            if (solved < exact - TOLERANCE).any():
                print(f"the truth of network {trial} is below its own sample: {solved} {exact}")
                wrong += 1
            exact = np.fmax(solved, exact)
        silent[name] += int((exact <= 0).sum())
        all_of[name] += NEURONS
        for method, best, asked_about, took in bounds(network, box):
            seconds[method] += took
            asked[method] += asked_about
            certified[name, method] += int((best <= 0).sum())
            if (best < exact - TOLERANCE).any() or ((best <= 0) & (exact > TOLERANCE)).any():
                print(f"WRONG: network {trial} of {name}, {method}: bound {best}, truth {exact}")
                wrong += 1
    print("| activation | neurons | silent | " + " | ".join(METHODS) + " |")
    print("|---|---|---|" + "---|" * len(METHODS))
    for name in names:
        shares = [f"{100 * certified[name, method] / max(1, silent[name]):.1f}" for method in METHODS]
        print(f"| {name} | {all_of[name]:,} | {silent[name]:,} | " + " | ".join(shares) + " |")
    total = [
        f"{100 * sum(certified[n, m] for n in names) / max(1, sum(silent.values())):.1f}" for m in METHODS
    ]
    print(f"| all | {sum(all_of.values()):,} | {sum(silent.values()):,} | " + " | ".join(total) + " |")
    each = [f"{1000 * seconds[method] / max(1, asked[method]):.2f}" for method in METHODS]
    print("| ms a neuron asked about | | | " + " | ".join(each) + " |")
    print(f"{wrong} wrong; {unknown} whose truth the solver did not find")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
