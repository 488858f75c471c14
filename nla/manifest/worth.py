"""What the evidence for cuts is worth: how often a cut unit could still fire, and what the held-out data showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nla.lifecycle.certified import certified
from nla.lifecycle.results import Inspection, SiteResult
from nla.lifecycle.special import joint_upper_bound
from nla.manifest.selection import woken

Bools = NDArray[np.bool_]


def worth(inspection: Inspection, silent: Mapping[str, Bools]) -> dict[str, Any]:
    """Numbers and sentences for the document and the terminal.

    Args:
        inspection: where the units were judged.
        silent: by site, bool [neurons]: the units whose cut or edit rests on what the calibration data showed
            of them, silence or one value. Sites without any may be left out.

    Returns: `confidence`; `calibration` {samples, units, rate_upper_bound of one unit, joint_rate_upper_bound
        of all, over how many neurons}; `held_out` {samples, fired} or None; `words`.
    """
    results = [r for r in inspection.sites if r.name in silent and silent[r.name].any()]
    units = sum(int(silent[r.name].sum()) for r in results)
    if not units:
        return {"confidence": 1 - inspection.criteria.confidence_alpha, "words": _warning(inspection)}
    samples = min(result.measurements.samples for result in results)
    alpha, neurons = inspection.criteria.confidence_alpha, inspection.summary["neurons"]
    calibration = {
        "samples": samples,
        "units": units,
        "rate_upper_bound": joint_upper_bound(1, samples, alpha),
        "joint_rate_upper_bound": joint_upper_bound(neurons, samples, alpha),
        "neurons": neurons,
    }
    held_out = _held_out(results, silent)
    return {
        "confidence": 1 - alpha,
        "calibration": calibration,
        "held_out": held_out,
        "words": [
            *_warning(inspection),
            *_words(calibration, held_out, alpha),
            *_proved(inspection, results, silent),
        ],
    }


def _held_out(results: list[SiteResult], silent: Mapping[str, Bools]) -> dict[str, int] | None:
    """Samples of the second split, and how many of the units it shows otherwise; None where there is none."""
    tested = [(result, result.held_out) for result in results if result.held_out is not None]
    if len(tested) < len(results):
        return None
    return {
        "samples": min(held.samples for _, held in tested),
        "fired": sum(int((woken(result) & silent[result.name]).sum()) for result, _ in tested),
    }


def _warning(inspection: Inspection) -> list[str]:
    if not inspection.data.get("synthetic"):
        return []
    return ["The data were random numbers: nothing here is true of real inputs, and no cut is safe."]


def _words(calibration: Mapping[str, Any], held_out: Mapping[str, int] | None, alpha: float) -> list[str]:
    samples, units = calibration["samples"], calibration["units"]
    one, every = calibration["rate_upper_bound"], calibration["joint_rate_upper_bound"]
    these, none = (f"any of these {units:,} units", "none of them") if units > 1 else ("this unit", "it")
    never = "more" if units > 1 else "no more"
    sentences = [
        f"0 of {samples:,} samples moved {these}; with {_percent(1 - alpha)} confidence one such unit moves on at "
        f"most {_percent(one)} of samples like these, and {none} on {never} than {_percent(every)}."
    ]
    if held_out is None:
        sentences.append(
            "No held-out data: nla inspect --held-out 0.2 records some, and --require held-out then asks for it."
        )
    elif held_out["fired"]:
        fired, one_ = held_out["fired"], held_out["fired"] == 1
        sentences.append(
            f"On {held_out['samples']:,} held-out samples {fired:,} of {units:,} {'does' if one_ else 'do'} move: "
            "outputs will change there, however steady the accuracy. --require held-out leaves "
            f"{'it' if one_ else 'them'} alone."
        )
    else:
        sentences.append(f"On {held_out['samples']:,} held-out samples none of them moves.")
    return sentences


def _proved(inspection: Inspection, results: list[SiteResult], silent: Mapping[str, Bools]) -> list[str]:
    """Of which units silence is proved, so that the cut is exact beyond the data."""
    if not inspection.certificates:
        return []
    proved = {r.name: certified(r) & silent[r.name] for r in results}
    exact = sum(int(proved[r.name].sum()) for r in results if r.site.activation.reaches_zero)
    near = sum(int(mask.sum()) for mask in proved.values()) - exact
    units, domain = sum(int(silent[r.name].sum()) for r in results), inspection.certificates.get("text", "")
    words = []
    seen_only_when_run = inspection.certificates.get("domain") == "observed"
    ending = (
        "; which inputs belong to it shows only when they are run"
        if seen_only_when_run
        else ", whatever is fed"
    )
    if exact:
        whom = "All of them are" if exact == units else f"{exact:,} of {units:,} are"
        words.append(
            f"{whom} proved silent for every input of the domain ({domain}): there a cut is exact{ending}."
        )
    if near:
        words.append(
            f"{near:,} of {units:,} are proved to stay within 0.001 of zero for every input of the domain ({domain})."
        )
    return words or [f"None of them is proved silent for every input of the domain ({domain})."]


def _percent(share: float) -> str:
    """Three digits.

    >>> _percent(0.000299528), _percent(0.95)
    ('0.03 %', '95 %')
    """
    return f"{100 * share:.3g} %"
