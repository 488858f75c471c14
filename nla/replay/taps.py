"""The tapped model: a session that gives every site's tensor, and how each of them is to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nla.graph.given import ConstantFeed
from nla.replay.agreement import agree
from nla.replay.session import Runnable
from nla.replay.views import Layout, View, blocked_view, position_shape, view

Array = NDArray[Any]


@dataclass(frozen=True)
class BlockedTap:
    """A site that is read in onnxruntime's own NCHWc order, without the reordering that an output would cost."""

    tensor: str
    neurons: int
    block: int


@dataclass(frozen=True)
class Taps:
    """A session with every site as an output."""

    session: Runnable
    names: tuple[str, ...]
    """The sites' tensors, in the order of the sites."""
    layouts: tuple[Layout, ...]
    constants: Mapping[str, ConstantFeed]
    pre_names: tuple[str | None, ...] = ()
    """Tensor of z, for the sites whose z is read beside a."""
    pre_layouts: tuple[Layout | None, ...] = ()
    blocked: Mapping[int, BlockedTap] | None = None
    """Sites read in NCHWc order, by their place."""

    @property
    def fetched(self) -> list[str]:
        """Names of the tensors that a run gives: the sites', then those of z."""
        own = self.blocked or {}
        names = [own[k].tensor if k in own else name for k, name in enumerate(self.names)]
        return names + [name for name in self.pre_names if name is not None]

    def run(self, feeds: Mapping[str, Array], samples: int) -> list[Array]:
        """The tensors of `fetched`, for the fed samples and the constants."""
        whole = {**{name: constant.of(samples) for name, constant in self.constants.items()}, **feeds}
        return self.session.run(self.fetched, whole)

    def view(self, k: int, values: Sequence[Array], samples: int) -> View:
        """Site k in the order of a kernel."""
        if self.blocked and k in self.blocked:
            return blocked_view(values[k], self.blocked[k].neurons, self.blocked[k].block)
        return view(values[k], self.layouts[k], samples)

    def pre_view(self, k: int, values: Sequence[Array], samples: int) -> View | None:
        """z of site k; None where it is not tapped."""
        if not self.pre_names or self.pre_names[k] is None:
            return None
        place = len(self.names) + sum(name is not None for name in self.pre_names[:k])
        layout = self.pre_layouts[k]
        return None if layout is None else view(values[place], layout, samples)

    def position_shape(self, k: int, values: Sequence[Array], samples: int) -> tuple[int, ...]:
        """Sizes of the position axes of site k."""
        if self.blocked and k in self.blocked:
            return tuple(values[k].shape[2:])
        return position_shape(values[k], self.layouts[k], samples)


def same_values(one: View, other: View, tolerance: float = 1e-3) -> bool:
    """Whether two views hold the same activations up to the rounding of another kernel."""
    return agree(one.columns().values, other.columns().values, tolerance, tolerance)
