"""The layer that makes a site's z: the part of the network from what it reads to z, for ranges observed there."""

from __future__ import annotations

from nla.certificates.network import Network, Target
from nla.certificates.ops.joining import Concat, Sum
from nla.certificates.ops.linear import Gathering, Linear, Scale
from nla.certificates.ops.pooling import MaxPool

_WITHIN = "\0"
"""In the names of tensors that lowering made, and the graph has not."""


def layer(network: Network, target: Target) -> Network | None:
    """From what the layer reads to z: its inputs are the tensors that the weighted operator before z reads.

    That is the input of the Gemm, MatMul or Conv that z comes from; what moves, scales, shifts or pools values (a bias,
    BatchNorm, Reshape, MaxPool) may lie between. Where z is a sum, a branch without weights (a skip connection) is an
    input as it is. Every path to z leads through one of these tensors, so that z follows from their values.

    Returns:
        None where no operator with a sound rule lies before z.
    """
    reads = _reads(network, target.pre)
    if target.pre in reads:
        return None
    kept, needed = [], {target.pre}
    for op in reversed(network.ops):
        if op.output in needed and op.output not in reads and op.output not in network.given:
            kept.append(op)
            needed.update(op.inputs)
    return Network(
        ops=tuple(reversed(kept)),
        inputs={name: network.shapes[name] for name in sorted(reads)},
        targets=(target,),
        given={name: held for name, held in network.given.items() if name in needed and name not in reads},
        unit=network.unit,
    )


def _reads(network: Network, pre: str) -> set[str]:
    """The tensors of the graph at which the layer before `pre` begins."""
    made = {op.output: op for op in network.ops if op.output not in network.given}
    reads: set[str] = set()
    seen: set[tuple[str, bool]] = set()
    waiting = [(pre, False)]
    while waiting:
        name, weighed = waiting.pop()
        if (name, weighed) in seen:
            continue
        seen.add((name, weighed))
        op = made.get(name)
        if _WITHIN not in name and (weighed or not isinstance(op, Linear | Sum | Concat | MaxPool)):
            reads.add(name)
        elif op is not None:
            sums = isinstance(op, Linear) and not isinstance(op, Gathering | Scale)
            waiting += [(source, weighed or sums) for source in op.inputs]
    return reads
