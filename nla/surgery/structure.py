"""A checkpoint understood anew for surgery: its walk, its channel groups, and its sites by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.errors import UsageError, printable
from nla.graph.assemble import assemble
from nla.graph.coupling import Coupling
from nla.graph.drafts import Draft
from nla.graph.find import walked
from nla.graph.given import Given
from nla.graph.prepare import Shapes, prepare
from nla.graph.walk import Walk
from nla.site import Site

_ON_REQUEST = frozenset(("linear", "mlp_pre"))
"""Sites that a recording may hold and a plain walk does not list."""
_LONGEST_COMPARED = 200
"""Characters of a name that is not known: comparing takes their number squared."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What surgery knows of a graph: where channels lie, which leave together, which sites there are."""

    walk: Walk
    coupling: Coupling
    sites: dict[str, Site]
    """By name, those that are only listed on request included."""
    drafts: dict[str, Draft]
    """The sites as the walk found them, by name; those on request are not among them."""

    @classmethod
    def of(
        cls,
        checkpoint: OnnxCheckpoint,
        constants: Mapping[str, Given] | None = None,
        shapes: Shapes | None = None,
    ) -> Structure:
        """The structure of a checkpoint, read anew, its inputs `constants` set. Raises ModelError, UsageError.

        With `shapes`, sizes that inputs leave free, it is that of these sizes alone.

        It calls onnx's C++: call it in the supervised child.
        """
        walk = walked(prepare(checkpoint, constants, shapes).model)
        coupling = Coupling(walk)
        sites = {site.name: site for site in assemble(walk, _ON_REQUEST, coupling, norms=False)}
        drafts: dict[str, Draft] = {}
        for draft in walk.drafts:
            drafts.setdefault(draft.value.name or "", draft)
        return cls(walk, coupling, sites, drafts)

    def site(self, name: str) -> Site:
        """The site of that name. Raises UsageError where the graph has none."""
        found = self.sites.get(name)
        if found is None:
            near = get_close_matches(name[:_LONGEST_COMPARED], self.sites, n=1)
            hint = f"did you mean '{printable(near[0], 120)}'" if near else f"it has {len(self.sites)} sites"
            raise UsageError(
                f"the model has no site '{printable(name)}' ({hint}); `nla sites` lists them, and a manifest "
                "fits only the checkpoint that it was planned for"
            )
        return found

    def check_units(self, name: str, units: Sequence[int]) -> None:
        """Raises UsageError: no such site, or a unit that it does not have."""
        neurons = self.site(name).neurons
        wrong = next((unit for unit in units if not 0 <= unit < neurons), None)
        if wrong is not None:
            raise UsageError(
                f"site '{printable(name)}' has no unit {wrong}: expected 0 to {neurons - 1}; strike the unit, "
                "or plan the manifest anew"
            )

    def groups(self, name: str) -> NDArray[np.int64] | None:
        """[neurons] channel group of every unit; None for a site at which nothing can be cut."""
        return self.coupling.groups(name) if name in self.drafts else None
