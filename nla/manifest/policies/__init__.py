"""The policies: each decides one kind of action; a few names stand for several of them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from nla.errors import UsageError, printable
from nla.manifest.policies import (
    flip,
    fold,
    mask,
    merge,
    remove,
    repair,
    reset,
    shift,
    strip,
    strip_contribution,
    swap,
)
from nla.manifest.policies.base import Policy

_MODULES = (repair, mask, remove, fold, merge, strip, strip_contribution, reset, shift, flip, swap)
POLICIES: dict[str, Policy] = {module.POLICY.name: module.POLICY for module in _MODULES}
"""By name, in the order of the documentation."""

GROUPS: dict[str, tuple[str, ...]] = {"prune": ("remove", "fold", "merge")}
"""Names that stand for several policies."""

NAMES = (*GROUPS, *POLICIES)


def named(names: str | Sequence[str]) -> tuple[Policy, ...]:
    """The policies of these names, each once, in the order given.

    Args: names: 'prune', or several as a list or with commas between: 'remove,fold'.

    Raises:
        UsageError: an unknown name, none at all, or two that may not stand together.
    """
    listed = names.split(",") if isinstance(names, str) else list(names)
    listed = [name.strip() for name in listed]
    unknown = next((name for name in listed if name not in NAMES), None)
    if unknown is not None or not listed:
        near = get_close_matches(unknown or "", NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise UsageError(f"no policy {printable(unknown or '')!r}; {hint}")
    single = dict.fromkeys(each for name in listed for each in GROUPS.get(name, (name,)))
    chosen = tuple(POLICIES[name] for name in single)
    for policy in chosen:
        if policy.alone and len(chosen) > 1:
            raise UsageError(
                f"{policy.name} stands alone: what every later layer sees changes with it; apply it, inspect "
                "again, then plan the rest"
            )
    return chosen
