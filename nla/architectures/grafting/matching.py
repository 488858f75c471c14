"""Which tensor of the checkpoint each weight of a graph is: by name, by name without one prefix, or tied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from nla.architectures.grafting.hidden import HOW, SMALL
from nla.errors import ModelError, printable

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_PARAMETERS = ("weight", "bias", "running_mean", "running_var", "gamma", "beta")
_HEADS = ("lm_head", "embed_out")
_TABLES = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
_SHOWN = 5
_DEEPEST = 12
"""Parts of the longest prefix that is left out."""


@dataclass(frozen=True)
class Matches:
    """Pairs of names: of an initializer of the graph, and of a tensor of the checkpoint."""

    pairs: Mapping[str, str]
    prefix: str = ""
    """What was left out of names: `graph's` or `checkpoint's` and the prefix; empty where names are equal."""
    tied: tuple[tuple[str, str], ...] = ()
    """Initializers that have a tied tensor's values, and its name; those that are not in the file as such."""
    kept: tuple[str, ...] = field(default=())
    """Initializers that stay the graph's own."""
    unused: tuple[str, ...] = ()
    """Tensors of the checkpoint that need not be used."""


def match(
    wanted: Shapes, stored: Shapes, *, tie: bool = True, equal: Callable[[str, str], bool] | None = None
) -> Matches:
    """Pairs for all floating initializers `wanted` and all floating tensors `stored`.

    `tie` allows a head to have the values of the table of embeddings, and `equal` tells whether two tensors of the
    checkpoint hold the same. Raises ModelError: one of either side without a partner.
    """
    pairs = {name: name for name in wanted if name in stored}
    prefix, stripped = _without_prefix(
        {name: wanted[name] for name in wanted if name not in pairs},
        {name: stored[name] for name in stored if name not in pairs},
    )
    pairs |= stripped
    left = [name for name in wanted if name not in pairs]
    tables = _Tied(stored if tie else (), stored)
    tied = {name: partner for name in left if (partner := tables.partner(name, wanted[name]))}
    pairs |= tied
    kept = [name for name in left if name not in tied]
    _check_kept({name: wanted[name] for name in kept})
    used = set(pairs.values())
    unused = [name for name in stored if name not in used]
    _check_unused(unused, stored, used, equal)
    return Matches(pairs, prefix, tuple(tied.items()), tuple(kept), tuple(unused))


def is_buffer(name: str, shape: Shape) -> bool:
    """Whether a tensor is one that older versions stored and that is computed anew, by name and shape."""
    path = f".{name}"
    if path.endswith((".attn.bias", ".attention.bias")):  # a causal mask; a true bias has one dimension
        return len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    if path.endswith(("masked_bias", ".num_batches_tracked")):
        return prod(shape) == 1
    return path.endswith((".inv_freq", ".position_ids"))


def _without_prefix(wanted: Shapes, stored: Shapes) -> tuple[str, dict[str, str]]:
    """Pairs whose names differ in one and the same prefix, and whose that is. Raises ModelError where several do."""
    candidates: dict[str, list[tuple[str, str]]] = {}
    by_tail: dict[str, list[str]] = {}
    for name in stored:
        for tail in _tails(name):
            by_tail.setdefault(tail, []).append(name)
    for name, shape in wanted.items():
        longer = [(f"the checkpoint's '{n[: -len(name)]}'", n) for n in by_tail.get(name, ())]
        shorter = [(f"the graph's '{name[: -len(t)]}'", t) for t in _tails(name) if t in stored]
        fitting = [(key, n) for key, n in longer + shorter if sorted(stored[n]) == sorted(shape)]
        if fitting:
            candidates[name] = fitting
    if not candidates:
        return "", {}
    counts = Counter(key for found in candidates.values() for key in {key for key, _ in found})
    best = [key for key, count in counts.items() if count == len(candidates)]
    if len(best) != 1:
        name, found = next(iter(candidates.items()))
        raise ModelError(
            f"names of graph and checkpoint differ in more than one way: '{printable(name)}' could be "
            f"{' or '.join(repr(printable(n)) for _, n in found[:3])}; export the graph from the module that was saved"
        )
    return printable(best[0]), {
        name: n for name, found in candidates.items() for key, n in found if key == best[0]
    }


def _tails(name: str) -> Iterator[str]:
    """The name without its first parts, up to a few: b.c and c of a.b.c."""
    for _ in range(_DEEPEST):
        name = name.partition(".")[2]
        if not name:
            return
        yield name


class _Tied:
    """Heads and tables of embeddings among some tensors, by module and shape."""

    def __init__(self, names: Iterable[str], shapes: Shapes) -> None:
        self._found: dict[tuple[str, Shape], list[str]] = {}
        for name in names:
            if _module(name) in (*_HEADS, *_TABLES) and name.endswith(".weight"):
                self._found.setdefault((_module(name), tuple(sorted(shapes[name]))), []).append(name)

    def partner(self, name: str, shape: Shape) -> str | None:
        """The only one that is tied to this tensor by name, and of its shape."""
        keys = [(module, tuple(sorted(shape))) for module in _partners_of(name)]
        found = [other for key in keys for other in self._found.get(key, ())[:2]]
        return found[0] if len(found) == 1 else None


def _partners_of(name: str) -> tuple[str, ...]:
    if not name.endswith(".weight"):
        return ()
    return {**dict.fromkeys(_HEADS, _TABLES), **dict.fromkeys(_TABLES, _HEADS)}.get(_module(name), ())


def _module(name: str) -> str:
    parts = name.split(".")
    return parts[-2] if len(parts) > 1 else ""


def _check_kept(kept: Shapes) -> None:
    wrong = [
        name
        for name, shape in kept.items()
        if (prod(shape) > SMALL or name.rpartition(".")[2] in _PARAMETERS) and not is_buffer(name, shape)
    ]
    if wrong:
        raise ModelError(
            f"the graph has weights that the checkpoint has not: {_listed(wrong, kept)}; with them the result would be "
            f"the graph's, not the checkpoint's. Export it again with names and tensors as they are, {HOW}"
        )


def _check_unused(
    unused: Iterable[str], stored: Shapes, used: set[str], equal: Callable[[str, str], bool] | None
) -> None:
    wrong = [name for name in unused if not is_buffer(name, stored[name])]
    tables = _Tied(used, stored)
    for name in list(wrong) if equal is not None else []:
        partner = tables.partner(name, stored[name])
        if partner is not None and equal is not None and equal(name, partner):
            wrong.remove(name)  # tied tensors, saved twice
    if wrong:
        raise ModelError(
            f"the graph does not use tensors of the checkpoint: {_listed(wrong, stored)}; an exporter folded or merged "
            f"them, or it is the graph of another network. Export it again with names and tensors as they are, {HOW}"
        )


def _listed(names: list[str], shapes: Shapes) -> str:
    told = ", ".join(f"'{printable(name)}' {list(shapes[name])}" for name in names[:_SHOWN])
    return told + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
