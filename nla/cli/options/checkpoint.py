"""Which checkpoint, and how its graph is understood."""

from __future__ import annotations

import click

from nla.cli.options.parts import MODEL, assignments, choice, option

model = click.argument("model", type=click.Path())
original = click.argument("original", type=click.Path())
edited = click.argument("edited", type=click.Path())
constants = assignments(
    "--set",
    "constants",
    section=MODEL,
    metavar="NAME=VALUE",
    help="Give the model's input NAME a constant, such as state=0 or sr=16000, and resolve the branches that "
    "it decides. Repeatable.",
)
include = choice(
    "--include",
    section=MODEL,
    metavar="ROLE",
    multiple=True,
    choices=["linear", "mlp_pre"],
    help="Look at sites of this role too: linear, weighted outputs without an activation; mlp_pre, the "
    "pre-activations of MLPs. Repeatable.",
)
graph = option(
    "--graph",
    section=MODEL,
    type=click.Path(),
    metavar="GRAPH.onnx",
    help="The graph of a safetensors checkpoint of no known architecture; its weights are matched by name.",
)
layers = option(
    "--layers",
    section=MODEL,
    metavar="A,B,C",
    help="The layers of a plain network in a safetensors file, in their order: fc1,fc2,out.",
)
activation = option(
    "--activation",
    section=MODEL,
    metavar="NAME",
    help="What stands between these layers, such as relu; one for all, or one for each with commas between.",
)
CONSTRUCTION = (graph, layers, activation)
"""How the graph of a safetensors checkpoint is made where its config.json does not say."""
initial = option(
    "--initial",
    section=MODEL,
    type=click.Path(),
    help="The checkpoint before training: neurons whose weights did not change since are `born`.",
)
