"""What the supervised child does for `nla inspect` without data: open the checkpoint, find sites, read weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from nla.architectures.opening import open_checkpoint
from nla.errors import ModelError, one_line
from nla.graph.assemble import assemble
from nla.graph.coupling import Coupling
from nla.graph.drafts import Draft
from nla.graph.find import walked
from nla.graph.prepare import prepare
from nla.surgery.structure import Structure
from nla.weights.chains import chains
from nla.weights.judging import Judge
from nla.weights.reading import Layers
from nla.weights.results import WeightInspection

Report = Callable[[dict[str, Any]], None]
_SECONDS = 0.2
_PHASE = "reading the weights"


def inspect(
    arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], report: Report
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the weights of a checkpoint tell, as plain values: `WeightInspection.to_plain`.

    Raises:
        ModelError, UsageError: the checkpoint cannot be used.
    """
    path = arguments["model"]
    report({"phase": "reading the model"})
    tell = _Throttled(report)
    checkpoint = open_checkpoint(
        path,
        on_hashed=lambda done, total: tell("reading the model", done, total),
        **arguments["construction"],
    )
    prepared = prepare(checkpoint, _constants(arguments, arrays))
    report({"phase": "looking for sites"})
    walk = walked(prepared.model)
    coupling = Coupling(walk)
    sites = assemble(walk, frozenset(arguments["include"]), coupling, norms=False)
    if not sites:
        more = (
            ""
            if "linear" in arguments["include"]
            else ", and `--include linear` adds layers without an activation"
        )
        raise ModelError(
            f"{one_line(path)}: no layer of neurons was found whose weights could be told apart; `nla sites` lists "
            f"what was not understood{more}"
        )
    drafts: dict[str, Draft] = {}
    for draft in walk.drafts:
        drafts.setdefault(draft.value.name or "", draft)
    structure = Structure(walk, coupling, {site.name: site for site in sites}, drafts)
    done = 0

    def step() -> None:
        tell(_PHASE, min(done, len(sites)), len(sites))

    layers = Layers(walk.flow.constants, step)
    judge = Judge(structure, layers, arguments["tolerance"])
    judged = []
    for site in sites:
        judged.append(judge.site(site))
        done += 1
        step()
    for weighted in walk.layers.values():  # those beside the sites too: an attention's, the last one
        layers.summed_up(weighted)
    found, why = chains(judge)
    return WeightInspection(
        sites=tuple(judged),
        layers=layers.listed(walk.place),
        chains=found,
        unchained=why,
        not_understood=tuple(walk.not_understood),
        checkpoint={**checkpoint.describe(), "parameters": prepared.parameters, **arguments["construction"]},
        unread_layers=layers.unread(),
        notes=prepared.notes,
    ).to_plain()


def _constants(arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    prefix = "constant/"
    beside = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {**arguments["constants"], **beside}


class _Throttled:
    """Progress, a few times a second: hashing and reading are silent otherwise, and silence is taken for a hang."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = -1.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._last > _SECONDS:
            self._last = now
            self._report({"phase": phase, "done": done, "total": total})
