"""Rotary positions from config.json: `rope_parameters` of transformers 5, `rope_theta` and `rope_scaling` of 4."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nla.architectures.config import Config
from nla.architectures.spec import Rope
from nla.errors import ModelError, printable

Frequencies = NDArray[np.float32]
Scaled = tuple[Frequencies, float]
"""Frequencies, and what cosines and sines are multiplied with."""
Scaling = Callable[[Frequencies, Config], Scaled]


def rope(config: Config, size: int, *, share: float = 1.0, theta: float = 10_000.0) -> Rope:
    """The rotary positions of heads of `size` channels; `share` and `theta` hold where config.json gives none.

    Raises ModelError for a way of scaling that is not known.
    """
    given = config.section("rope_parameters", "rope_scaling") or Config({})
    nested = next((key for key, value in given.values.items() if isinstance(value, dict)), None)
    if nested is not None:
        raise ModelError(
            f"config.json: rope_parameters differ by kind of layer ('{printable(nested)}'): expected one set for all"
        )
    base = given.real("rope_theta", default=config.real("rope_theta", "rotary_emb_base", default=theta))
    share = given.real(
        "partial_rotary_factor", default=config.real("partial_rotary_factor", "rotary_pct", default=share)
    )
    turned = int(size * share)
    if share > 1.0 or turned < 2 or turned % 2:
        raise ModelError(
            f"config.json: {share} of the {size} channels of a head are to turn with position: expected an even number"
        )
    kind = given.text("rope_type", "type", default="default")
    if kind not in _SCALINGS:
        raise ModelError(
            f"config.json: rope type '{printable(kind)}' is none that nla knows: {', '.join(sorted(_SCALINGS))}"
        )
    trained = config.values.get("max_position_embeddings")
    filled = {"original_max_position_embeddings": trained, **given.values, "rope_theta": base}
    with np.errstate(all="ignore"):
        exponents = np.arange(0, turned, 2, dtype=np.float32) / np.float32(turned)
        # rounded where torch rounds: an angle is a frequency times a position, and so is its error
        plain = np.float32(1.0) / np.power(base, exponents.astype(np.float64)).astype(np.float32)
        frequencies, factor = _SCALINGS[kind](plain, Config(filled))
    if not np.isfinite(frequencies).all() or not math.isfinite(factor):
        raise ModelError("config.json: the rotary positions have frequencies that are no finite numbers")
    return Rope(tuple(float(frequency) for frequency in frequencies), factor)


def _default(frequencies: Frequencies, given: Config) -> Scaled:
    return frequencies, 1.0


def _linear(frequencies: Frequencies, given: Config) -> Scaled:
    return frequencies / np.float32(given.real("factor")), 1.0


def _llama3(frequencies: Frequencies, given: Config) -> Scaled:
    """Long waves are stretched, short ones kept, those between blended."""
    factor = np.float32(given.real("factor"))
    low, high = given.real("low_freq_factor"), given.real("high_freq_factor")
    trained = given.count("original_max_position_embeddings")
    if high <= low:
        raise ModelError(
            f"config.json: high_freq_factor {high} of the rope scaling is not above low_freq_factor {low}"
        )
    lengths = np.float32(2 * math.pi) / frequencies
    blend = (np.float32(trained) / lengths - np.float32(low)) / np.float32(high - low)
    blended = (1 - blend) * frequencies / factor + blend * frequencies
    stretched = np.where(lengths > trained / low, frequencies / factor, frequencies)
    between = (lengths >= trained / high) & (lengths <= trained / low)
    return np.where(between, blended, stretched).astype(np.float32), 1.0


def _yarn(frequencies: Frequencies, given: Config) -> Scaled:
    """From many turns within the trained length to few, waves are kept, blended, stretched; scores are sharpened."""
    factor, base = given.real("factor"), given.real("rope_theta")
    trained = given.count("original_max_position_embeddings")
    size = 2 * len(frequencies)

    def place(turns: float) -> float:
        """The channel, as a fraction, whose wave turns so often."""
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

    if base == 1.0:
        raise ModelError("config.json: rope_theta is 1: expected another for a rope of type 'yarn'")
    first, last = place(given.real("beta_fast", default=32.0)), place(given.real("beta_slow", default=1.0))
    if given.flag("truncate", default=True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    last += 0.001 if first == last else 0.0
    steps = (np.arange(len(frequencies), dtype=np.float32) - np.float32(first)) / np.float32(last - first)
    kept = 1 - np.clip(steps, 0, 1)
    blended = frequencies / np.float32(factor) * (1 - kept) + frequencies * kept
    return blended.astype(np.float32), _sharpening(given, factor)


def _sharpening(given: Config, factor: float) -> float:
    """What YaRN multiplies cosines and sines with."""

    def scale(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    if given.has("attention_factor"):
        return given.real("attention_factor")
    if given.values.get("mscale") and given.values.get("mscale_all_dim"):
        return scale(given.real("mscale")) / scale(given.real("mscale_all_dim"))
    return scale(1.0)


_SCALINGS: dict[str, Scaling] = {"default": _default, "linear": _linear, "llama3": _llama3, "yarn": _yarn}
