"""Which figure a result of theory becomes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nla.errors import MissingExtraError
from nla.theory.activation_table import ActivationTable
from nla.theory.gradient_flow import GradientFlow
from nla.theory.simulation.results import Simulation

if TYPE_CHECKING:
    from nla.figures.figure import Figure
    from nla.theory.simulation.sizes import VarianceTable

_SIMULATED = {2: "born_alive", 4: "along_paths", 5: "normalised_variance", 6: "living_data", 9: "phases"}


def drawn(found: Simulation | ActivationTable | VarianceTable | GradientFlow) -> Figure:
    """The figure of it. Raises MissingExtraError where the library for plots is not installed."""
    if isinstance(found, Simulation):
        name = _SIMULATED[found.settings.figure]
    elif isinstance(found, GradientFlow):
        name = "gradient_flow"
    else:
        name = "activation_curves" if isinstance(found, ActivationTable) else "sizes"
    try:
        module = import_module(f"nla.figures.theory.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "altair":
            raise MissingExtraError("plots", "report") from None
        raise
    figure: Figure = module.draw(found)
    return figure
