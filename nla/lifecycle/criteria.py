"""The criteria: every threshold by which a neuron is judged, with its unit, range, default and source."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nla.errors import UsageError, one_line, printable

_OURS = "nla"
_LIFECYCLE = "lifecycle paper"
_LARGEST_TOML_BYTES = 1 << 14  # the parser needs a second for the worst of it, and 16 for four times as much
_LARGEST = 2**53


def _criterion(default: float, unit: str, interval: str, meaning: str, source: str = _OURS) -> Any:
    """A field of `Criteria`; `interval` is its range as mathematics writes it, and is what is checked."""
    metadata = {"unit": unit, "range": interval, "meaning": meaning, "source": source}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Criteria:
    """Thresholds for states, flags, evidence and findings; frozen, checked when made.

    Raises:
        UsageError: a value of the wrong type or out of its range.

    >>> Criteria(dormancy_threshold=0.1).dormancy_threshold
    0.1
    """

    dead_tolerance_abs: float = _criterion(
        1e-3,
        "activation",
        "[0, 1]",
        "largest |a| of a dead neuron whose φ never reaches zero (GELU, SiLU, sigmoid, …)",
        "the firing threshold of the foundation-model article",
    )
    constant_tolerance: float = _criterion(
        1e-5,
        "share of the neuron's largest |a|",
        "[0, 1)",
        "largest range of a that counts as constant; a hundred roundings of fp32",
    )
    flat_derivative: float = _criterion(
        0.01,
        "|φ′|",
        "(0, 0.25)",
        "largest slope of φ that counts as flat; of sigmoid, a below 0.0101 or above 0.9899",
    )
    saturated_share: float = _criterion(
        0.99,
        "share of positions",
        "(0, 1]",
        "least share of positions on a flat part of φ of a saturated neuron",
    )
    dormancy_threshold: float = _criterion(
        0.025,
        "dormancy score",
        "[0, 1]",
        "largest dormancy score of a dormant neuron",
        "Sokar et al. 2023 (ReDo)",
    )
    firing_threshold: float = _criterion(
        1e-3,
        "activation",
        "[0, 1e6]",
        "|a| above which a position counts in firing_frequency; fixed when the replay begins",
        "the firing threshold of the foundation-model article",
    )
    confidence_alpha: float = _criterion(
        0.05, "probability", "(0, 1)", "1 - confidence of the upper bounds on firing rates", "convention"
    )
    false_discovery_rate: float = _criterion(
        0.05,
        "probability",
        "(0, 1)",
        "level of the false discovery rate over a site at which information about the label is significant",
        "Benjamini and Hochberg 1995",
    )
    specialised_information: float = _criterion(
        0.5,
        "share of the attainable information, min(H(label), H(response))",
        "[0, 1]",
        "least corrected mutual information of a specialised neuron: the label explains half of its response",
    )
    specialised_sparseness: float = _criterion(
        0.8,
        "lifetime sparseness",
        "[0, 1]",
        "least lifetime sparseness of a specialised neuron where there are no labels",
        "measure: Vinje and Gallant 2000; level: nla",
    )
    answered_share: float = _criterion(
        0.5,
        "share of the largest mean over the labels",
        "(0, 1]",
        "a neuron answers to a label where its mean |a| is at least this share of that on its best label",
        "half height, as tuning widths are given",
    )
    polysemantic_labels: int = _criterion(
        2, "labels", "[2, inf)", "least number of labels that a selective, polysemantic neuron answers to"
    )
    linear_rate: float = _criterion(
        1.0,
        "share of positions",
        "(0.5, 1]",
        "least activation rate of a rectifier that is flagged linear",
        f"{_LIFECYCLE}, eq. 2, with its own name (errata)",
    )
    near_dead_margin: float = _criterion(
        0.25,
        "standard deviations of z",
        "[0, 100]",
        "|margin| below which a neuron is near_dead: it is dead and nearly wakes, or lives and nearly died",
    )
    high_dead_share: float = _criterion(
        0.1, "share of a site's neurons", "(0, 1]", "dead share from which a site has a finding"
    )
    high_saturated_share: float = _criterion(
        0.25, "share of a site's neurons", "(0, 1]", "saturated share from which a site has a finding"
    )
    high_dormant_share: float = _criterion(
        0.1, "share of a site's neurons", "(0, 1]", "dormant share from which a site has a finding"
    )
    high_linear_share: float = _criterion(
        0.5, "share of a site's neurons", "(0, 1]", "share of linear neurons from which a site has a finding"
    )
    low_rank_share: float = _criterion(
        0.1, "effective rank over live neurons", "[0, 1)", "share below which a site's representation is thin"
    )
    weak_bound: float = _criterion(
        0.01,
        "share of samples",
        "(0, 1)",
        "joint upper bound on the firing rate of a site's dead above which the samples are too few",
    )

    def __post_init__(self) -> None:
        for criterion in dataclasses.fields(self):
            value = getattr(self, criterion.name)
            object.__setattr__(self, criterion.name, _checked(criterion, value))

    @classmethod
    def from_toml(cls, path: str | Path) -> Criteria:
        """The defaults with what the TOML file sets: one `name = value` a line.

        Raises:
            UsageError: a file that cannot be read, is not TOML, sets an unknown key or an impossible value.
        """
        return cls.from_dict(_read_toml(Path(path)), where=printable(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "criteria") -> Criteria:
        """The defaults with `values`; raises UsageError that begins with `where`, as `from_toml` does."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise UsageError(f"{where}: no criterion {printable(key)!r}; {hint}")
        try:
            return cls(**values)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None

    def replace(self, **changes: float) -> Criteria:
        """These criteria with some values changed; raises UsageError as `from_dict` does."""
        return self.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, float]:
        """The values by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def describe(self) -> dict[str, dict[str, Any]]:
        """By name: value, default, unit, range, meaning and source, as every document holds them."""
        return {
            f.name: {"value": getattr(self, f.name), "default": f.default, **f.metadata}
            for f in dataclasses.fields(self)
        }


def _checked(criterion: dataclasses.Field[Any], value: object) -> float:
    """`value` as the field's type, once it is one and lies in the field's range."""
    whole = isinstance(criterion.default, int)
    wanted = int if whole else (int, float)
    interval = criterion.metadata["range"]
    expected = f"expected {'a whole number' if whole else 'a number'} in {interval}"
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise UsageError(
            f"{criterion.name} = {one_line(repr(value), 80)} is a {type(value).__name__}; {expected}"
        )
    if not _contains(interval, value) or abs(value) > _LARGEST:
        raise UsageError(f"{criterion.name} = {one_line(repr(value), 80)} is out of range; {expected}")
    return value if whole else float(value)


def _contains(interval: str, value: float) -> bool:
    """Whether `value` lies in an interval such as '(0, 1]'; NaN lies in none.

    >>> _contains("(0, 1]", 0.0), _contains("(0, 1]", 1.0), _contains("[2, inf)", 10**400)
    (False, True, True)
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and not (isinstance(value, float) and math.isnan(value))


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        if not path.is_file():
            what = "not a regular file" if path.exists() else "no such file"
            raise UsageError(f"{printable(path)}: {what}, expected a TOML file of criteria")
        if path.stat().st_size > _LARGEST_TOML_BYTES:
            raise UsageError(
                f"{printable(path)}: over {_LARGEST_TOML_BYTES} bytes, expected a short TOML file"
            )
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{printable(path)}: cannot be read: {error.strerror or one_line(error)}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise UsageError(f"{printable(path)}: not TOML: {one_line(error)}") from None
