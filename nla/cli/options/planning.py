"""What is to be done, and to which units."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import (
    COUNT,
    OUTPUT,
    POLICY,
    WHICH,
    choice,
    option,
    seed_option,
    site_option,
    state_option,
)
from nla.cli.parameters import Parsed

POLICIES = (
    "prune",
    "repair",
    "mask",
    "remove",
    "fold",
    "merge",
    "strip",
    "strip-contribution",
    "reset",
    "shift",
    "flip",
    "swap",
)
"""nla.manifest.policies.NAMES, likewise."""
policy = option(
    "--policy",
    section=POLICY,
    metavar="P[,P]",
    type=Parsed("names", parameters.names),
    required=True,
    help=f"What to plan, with commas between: {', '.join(POLICIES)}. prune is remove, fold and merge; repair is "
    "what suits each state.",
)
fraction = option(
    "--fraction",
    section=POLICY,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    help="For strip (0.2 by default) and strip-contribution (0.05): share of a unit's incoming weights to zero.",
)
target_rate = option(
    "--target-rate",
    section=POLICY,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    default=0.01,
    show_default=True,
    help="For shift, and for strip in rounds: share of positions on which a unit is to fire.",
)
zero_outgoing = option(
    "--zero-outgoing",
    section=POLICY,
    is_flag=True,
    help="For shift: outgoing weights become zero, so that the output stays.",
)
swap_to = choice(
    "--to",
    section=POLICY,
    choices=["gelu", "silu", "elu", "leakyrelu"],
    help="For swap: the activation to take.",
)
reset_seed = seed_option(POLICY)
planned_site = site_option(WHICH)
planned_state = state_option(WHICH)
require = choice(
    "--require",
    section=WHICH,
    multiple=True,
    choices=["held-out", "certificate"],
    help="Units only with this evidence: held-out, that do not fire on the held-out data either (a constant one keeps "
    "its value); certificate, that are proved silent for every input of a domain. Repeatable.",
)
certificates = option(
    "--certificates",
    section=WHICH,
    type=click.Path(),
    metavar="FILE.json",
    help="What `nla certify -o` wrote of the same checkpoint: proofs of silence for --require and for the manifest.",
)
min_margin = option(
    "--min-margin",
    section=WHICH,
    metavar="X",
    type=Parsed("number", parameters.number),
    help="Units only that are at least so many standard deviations of z from waking.",
)
max_rate_bound = option(
    "--max-rate-bound",
    section=WHICH,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    help="Units only of which the data show, with the confidence of the criteria, that they fire on no larger "
    "share of samples.",
)
manifest_output = option(
    "-o",
    "--output",
    section=OUTPUT,
    type=click.Path(),
    metavar="MANIFEST.json",
    help="Write the manifest, which nla apply carries out; - writes it to standard output.",
)
rounds = option(
    "--rounds",
    section=POLICY,
    metavar="N",
    type=COUNT,
    default=1,
    show_default=True,
    help="At most so many rounds, measured anew after each: strip up to --target-rate, flip layer by layer.",
)
candidates = option(
    "--candidates",
    section=POLICY,
    metavar="A[,A]",
    type=Parsed("names", parameters.names),
    default="gelu,silu,elu,leakyrelu",
    show_default=True,
    help="Activations to try.",
)
