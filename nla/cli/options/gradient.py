"""Which loss is differentiated."""

from __future__ import annotations

from nla.cli.options.parts import choice, option

LOSS = "Loss"

loss = choice(
    "--loss",
    section=LOSS,
    choices=["cross-entropy", "mean-square", "sum"],
    default="cross-entropy",
    show_default=True,
    help="Of each sample: cross-entropy of the logits with its label, mean of the output's squares, or its sum; the "
    "last two need no labels.",
)
loss_of = option(
    "--loss-of",
    section=LOSS,
    metavar="OUTPUT",
    help="The output that the loss is of; the first with floating-point numbers by default. A softmax at the end is "
    "seen through.",
)
