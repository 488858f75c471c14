"""For which inputs silence is to be proved, of which neurons, and how hard to try."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import MODEL, OUTPUT, WHICH, choice, option, seed_option, site_option
from nla.cli.parameters import Parsed

DOMAIN = "For which inputs"
PROOF = "Proof"
DOMAINS = ("any", "box", "data", "file", "hull", "non-negative", "observed")
"""nla.verbs.proofs.DOMAINS, written out once more; a test holds them together."""
METHODS = ("interval", "linear", "slopes", "lp", "milp")
"""nla.certificates.methods.METHODS, likewise."""


def _sizes(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.replace("×", "x").split("x")
    if not name or not all(part.isdecimal() and 0 < int(part) < 1 << 31 for part in parts):
        raise ValueError("expected INPUT=SIZExSIZE, such as x=1x3x224x224")
    return name, tuple(int(part) for part in parts)


domain = choice(
    "--domain",
    section=DOMAIN,
    choices=DOMAINS,
    help="What inputs may be. box and file: in given ranges; data: in the range of each element over the data; hull: "
    "in their convex hull; non-negative; observed: whatever keeps what each layer reads in its range over the data; "
    "any: whatever normalisation makes of it. By default what is given calls for.",
)
box = option(
    "--box",
    section=DOMAIN,
    metavar="LOW:HIGH",
    multiple=True,
    help="Range of every input, 0:1, of one, x=0:1, or by channel, x=0:1,-1:1. Repeatable.",
)
ranges = option(
    "--ranges",
    section=DOMAIN,
    type=click.Path(),
    metavar="FILE",
    help="Ranges element by element: .npz or .json with lo and hi, or INPUT.lo and INPUT.hi; a property in .vnnlib.",
)
margin = option(
    "--margin",
    section=DOMAIN,
    metavar="X",
    type=Parsed("number", parameters.tolerance),
    default=0.0,
    help="Widen what data cover (data, hull, observed) by so much in every element.",
)
recorded = option(
    "--run",
    section=WHICH,
    type=click.Path(),
    metavar="RUN.h5",
    help="Only the neurons that this recording of MODEL found dead; by default every one.",
)
site = site_option(WHICH)
neuron = option(
    "--neuron",
    section=WHICH,
    multiple=True,
    metavar="N",
    type=Parsed("number", parameters.natural),
    help="This neuron only, of the one --site. Repeatable.",
)
method = option(
    "--method",
    section=PROOF,
    metavar="M[,M]",
    type=Parsed("names", parameters.names),
    default=",".join(METHODS[:3]),
    show_default=True,
    help=f"Methods from cheap to sharp: {', '.join(METHODS)}; lp and milp need SciPy (the extra `exact`).",
)
time_budget = option(
    "--time-budget",
    section=PROOF,
    metavar="TIME",
    type=Parsed("time", parameters.duration_seconds),
    default="60",
    show_default=True,
    help="Try for so long, such as 10m: what is open then is undecided. No limit: what is done is kept.",
)
seed = seed_option(PROOF)
size = option(
    "--size",
    section=MODEL,
    metavar="INPUT=SIZES",
    type=Parsed("sizes", _sizes),
    multiple=True,
    help="Sizes of an input that MODEL leaves free, with a batch of 1: x=1x3x224x224. Repeatable.",
)
output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE.json",
    help="Write the certificates, which nla plan --certificates takes; - is standard output.",
)
row_format = choice(
    "--format",
    "row_format",
    section=OUTPUT,
    choices=["table", "csv", "json"],
    default="table",
    help="What is printed: a table for people, a row for each neuron, or the document.",
)
all_neurons = option(
    "--all",
    "all_neurons",
    section=OUTPUT,
    is_flag=True,
    help="List every neuron, not the first of each site and verdict only.",
)
witnesses = option(
    "--witnesses",
    section=OUTPUT,
    type=click.Path(),
    metavar="FILE.npz",
    help="Write the inputs that woke neurons, an array for each input of MODEL.",
)
certify = option(
    "--certify",
    section=PROOF,
    is_flag=True,
    help="Prove of each dead neuron that it is silent for every input of a domain, or find one that wakes it.",
)
PROOFS = (certify, domain, box, ranges, margin, time_budget)
"""The options of commands that inspect first."""
