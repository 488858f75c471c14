"""strip-contribution: the incoming weights that hold the unit down most on average, w·E[x], to zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.results import Inspection, SiteResult
from nla.manifest.policies.base import Answers, Options, Policy, Proposal, Units, refuse

NAME = "strip-contribution"
DEFAULT_FRACTION = 0.05


def propose(result: SiteResult, units: Units, inspection: Inspection, options: Options) -> Answers:
    """All of the units where the mean of each input is known."""
    means = input_mean(result, inspection)
    if means is None:
        why = "the means of its inputs are not in the recording; strip and reset need none"
        return refuse(NAME, result, units, why)
    fraction = DEFAULT_FRACTION if options.fraction is None else options.fraction
    expect = (
        f"the weights that lower each unit most on average, at most {100 * fraction:g} % of them, become zero; it "
        "fires more, and the output changes where it does"
    )
    parameters = {"fraction": fraction, "input_mean": means.tolist()}
    return [Proposal(NAME, result, units, expect, exact=False, parameters=parameters)]


def input_mean(result: SiteResult, inspection: Inspection) -> NDArray[np.float64] | None:
    """float64 [input channels of the producer], the mean of each input; None where it is not known.

    Where the replay did not record it, it is that of the sites that make all of the inputs.
    """
    recorded = result.measurements.input_mean
    if recorded is not None:
        return np.asarray(recorded) if np.isfinite(recorded).all() else None
    if not result.site.upstream or not result.site.producers:
        return None
    means = {each.name: each.measurements.mean for each in inspection.sites}
    if any(name not in means for name in result.site.upstream):
        return None
    joined = np.concatenate([means[name] for name in result.site.upstream])
    return joined if np.isfinite(joined).all() and len(joined) in _inputs(result) else None


def _inputs(result: SiteResult) -> set[int]:
    """Sizes that the producers' other axis has; a convolution's is that of one group."""
    sizes = set()
    for producer in result.site.producers:
        shape = producer.shape
        if shape is not None and len(shape) > 1 and producer.groups == 1:
            sizes.add(shape[1 - producer.weight_axis] if producer.weight_axis in (0, 1) else shape[-2])
    return sizes


POLICY = Policy(
    NAME, "incoming weights of the most negative mean contribution to zero", propose, rewires=True
)
