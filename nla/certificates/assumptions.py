"""What a certificate takes for granted: sentences for the verdict, and where the proof would stop holding."""

from __future__ import annotations

import numpy as np

from nla.certificates.interval import Ranges
from nla.certificates.network import Network, Target
from nla.certificates.rounding import BRAIN, HALF
from nla.certificates.sets import MEAN_TO_SPREAD, Normalised

_LARGEST = {HALF: 65504.0, BRAIN: 3.3e38}
_SINGLE_LARGEST = 3.4e38
_NAMES = {HALF: "float16", BRAIN: "bfloat16"}


def assumptions(network: Network, known: Ranges, target: Target) -> tuple[str, ...]:
    """Sentences that hold for every bound of this target: the arithmetic covered, and what is left to the inputs.

    Args:
        network: lowered.
        known: boxes of every tensor.
        target: the site.
    """
    kind = _NAMES.get(network.unit, "float32")
    said = [
        f"{kind} arithmetic or better, sums in any order, fused or not; no Winograd or Strassen products",
    ]
    before = network.before([target.pre])
    read = {name for op in before for name in op.inputs} | {target.pre}
    norms = [network.given[name] for name in sorted(read & set(network.given))]
    if any(isinstance(norm, Normalised) and norm.centred for norm in norms):
        said.append(
            f"what a LayerNorm reads has a mean of at most {MEAN_TO_SPREAD:g} standard deviations: beyond that its"
            " rounded output may leave the set that it has in exact arithmetic"
        )
    if any(np.isfinite(norm.box.largest).any() for norm in norms):
        said.append(
            "no operator makes NaN of an input of the domain before a normalisation or a recurrent operator, whose"
            " range is taken for known whatever it reads"
        )
    limit = _LARGEST.get(network.unit, _SINGLE_LARGEST)
    names = {name for op in before for name in (*op.inputs, op.output)} | {target.pre}
    if any(not bool((known.boxes[name].largest < limit).all()) for name in names):
        said.append(f"no value before this site overflows {kind}")
    return tuple(said)
