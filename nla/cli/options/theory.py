"""Sizes of networks that need not exist, and simulations of them."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import COUNT, LIMITS, OUTPUT, Decorator, choice, option
from nla.cli.parameters import Parsed

NETWORK = "Network"
SIMULATION = "Simulation"


def _widths(text: str) -> tuple[int, ...]:
    return tuple(parameters.positive(part.strip()) for part in text.split(","))


def _probability(text: str) -> float:
    try:
        value = parameters.positive_share(text)
    except ValueError:
        value = 1.0
    if value == 1:
        raise ValueError("expected a probability between 0 and 1, such as 0.99")
    return value


model = click.argument("model", type=click.Path(), required=False)
width = option("--width", section=NETWORK, metavar="N", type=COUNT, help="Neurons in each of --depth layers.")
depth = option("--depth", section=NETWORK, metavar="N", type=COUNT, help="Layers.")
widths = option(
    "--widths",
    section=NETWORK,
    metavar="A,B,C",
    type=Parsed("widths", _widths),
    help="Neurons layer by layer.",
)
inputs = option(
    "--inputs",
    section=NETWORK,
    metavar="N",
    type=COUNT,
    help="Features of the data; as many as the first layer is wide, by default.",
)
non_negative = option(
    "--non-negative",
    section=NETWORK,
    is_flag=True,
    help="No value of the data is negative, as in pixels: the first layer can be killed for certain too.",
)
no_bias = option(
    "--no-bias",
    section=NETWORK,
    is_flag=True,
    help="Biases begin at zero, or there are none; else they are drawn like the weights.",
)
orthogonal = option(
    "--orthogonal",
    section=NETWORK,
    is_flag=True,
    help="Weights are orthogonal matrices: the lower bound holds, the upper one does not and is left out.",
)
probability = option(
    "--probability",
    section=NETWORK,
    metavar="P",
    type=Parsed("probability", _probability),
    help="Wanted probability of being born alive: prints the width that it needs (eq. 9).",
)
fan_in = option(
    "--fan-in", section=NETWORK, metavar="N", type=COUNT, help="Inputs of the layer; 256 by default."
)
fan_out = option(
    "--fan-out", section=NETWORK, metavar="N", type=COUNT, help="Outputs of the layer; 256 by default."
)
figure = choice(
    "--figure",
    section=SIMULATION,
    choices=["2", "4", "5", "6"],
    required=True,
    help="2: born alive, against both bounds; 4: along the widths n(k) of eq. 9; 5: variance of the outputs; "
    "6: living data under three initialisations.",
)
networks = option(
    "--networks",
    section=SIMULATION,
    metavar="N",
    type=COUNT,
    default=1024,
    show_default=True,
    help="Of each width.",
)
points = option(
    "--points",
    section=SIMULATION,
    metavar="N",
    type=COUNT,
    default=1024,
    show_default=True,
    help="Points of data, drawn anew for every network.",
)
max_width = option(
    "--max-width",
    section=SIMULATION,
    metavar="N",
    type=COUNT,
    default=15,
    show_default=True,
    help="Widths from 1 to this.",
)
simulated_depth = option(
    "--depth",
    section=SIMULATION,
    metavar="N",
    type=COUNT,
    help="Layers; as in the paper by default: 256, for figures 4 and 5 1,024.",
)
seed = option(
    "--seed",
    section=SIMULATION,
    metavar="N",
    type=Parsed("number", parameters.natural),
    default=0,
    show_default=True,
    help="Seed of all that is drawn at random.",
)
bias = option(
    "--bias",
    section=SIMULATION,
    is_flag=True,
    help="Draw biases like the weights, and data of every size (Cauchy); none and normal data by default.",
)
non_negative_data = option(
    "--non-negative", section=SIMULATION, is_flag=True, help="Data without negative values."
)
work = option(
    "--work",
    section=SIMULATION,
    metavar="FILE.npz",
    type=click.Path(),
    help="Keep what is done in this file; the same command goes on from it.",
)


def _phases(name: str, default: int, help: str) -> Decorator:
    return option(
        name, section=SIMULATION, metavar="N", type=COUNT, default=default, show_default=True, help=help
    )


phase_networks = _phases("--networks", 256, "Of each width and kind.")
phase_points = _phases("--points", 128, "Points of data, drawn anew for every network.")
phase_width = _phases("--max-width", 12, "Widths from 1 to this.")
phase_depth = _phases("--depth", 256, "Layers: every depth from 1 to this.")
names = click.argument("names", metavar="[NAME]...", nargs=-1)
scheme = option(
    "--scheme",
    section=NETWORK,
    metavar="A[,A]",
    type=Parsed("names", parameters.names),
    help="Initialisation schemes; he-normal, glorot-normal and torch-default by default.",
)
activation = option(
    "--activation",
    section=NETWORK,
    metavar="NAME",
    default="relu",
    show_default=True,
    help="What stands between the layers.",
)
one_width = option(
    "--width",
    section=NETWORK,
    metavar="N",
    type=COUNT,
    default=256,
    show_default=True,
    help="Neurons in each layer, and features of the data.",
)
one_depth = option(
    "--depth", section=NETWORK, metavar="N", type=COUNT, default=16, show_default=True, help="Layers."
)
drawn_networks = option(
    "--networks",
    section=SIMULATION,
    metavar="N",
    type=Parsed("number", parameters.natural),
    default=16,
    show_default=True,
    help="Of each scheme, drawn and measured beside the prediction; 0 for none.",
)
drawn_points = option(
    "--points",
    section=SIMULATION,
    metavar="N",
    type=COUNT,
    default=256,
    show_default=True,
    help="Points of standard normal data.",
)
row_format = choice(
    "--format",
    "row_format",
    section=OUTPUT,
    choices=["table", "csv", "json"],
    default="table",
    show_default=True,
    help="A table for people, every row with all digits, or the whole document.",
)
plot = option(
    "--plot",
    section=OUTPUT,
    metavar="FIGURE.svg",
    type=click.Path(),
    help="Draw it into this file, which ends in .svg, .png or .pdf.",
)
threads = option(
    "--threads",
    section=LIMITS,
    metavar="N",
    type=COUNT,
    help="So many at once; one for each core by default. The result does not depend on it.",
)
