"""`nla theory`: what the papers' closed forms and simulations say of networks, on the command line."""

from __future__ import annotations

from typing import Any

import click

from nla.cli import outputs, parameters, progress
from nla.cli.command import SETTINGS, Group, command
from nla.cli.gradient import gradient
from nla.cli.initialisation import initialisation
from nla.cli.options import checkpoint, drawing, measuring, writing
from nla.cli.options import theory as options
from nla.cli.phases import phases
from nla.cli.theory_outputs import check, draw, show


@click.group(
    "theory",
    cls=Group,
    context_settings=SETTINGS,
    invoke_without_command=True,
    short_help="Closed forms and simulations: born alive or not",
    examples=("nla theory trainability --width 16 --depth 64", "nla theory simulate --figure 2"),
)
@click.pass_context
def theory(context: click.Context) -> None:
    """Compute what theory says of a network, before it is trained or without its data.

    `nla theory COMMAND --help` shows examples and options.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command(
    "trainability",
    (
        options.model,
        options.width,
        options.depth,
        options.widths,
        options.inputs,
        options.non_negative,
        options.no_bias,
        options.orthogonal,
        options.probability,
        writing.json_file,
        options.row_format,
        checkpoint.constants,
        *checkpoint.CONSTRUCTION,
        measuring.memory_limit,
        measuring.time_limit,
        measuring.in_process,
    ),
    examples=(
        "nla theory trainability --width 16 --depth 64",
        "nla theory trainability --widths 16,8,4 --probability 0.99",
        "nla theory trainability model.onnx --non-negative",
    ),
)
def trainability(json_file: str | None, row_format: str, **given: Any) -> None:
    """Bound the probability that a ReLU network is born alive.

    Of a network of given widths, or of the checkpoint MODEL as it would be drawn anew: its ReLU layers, kernels,
    groups, biases and skip connections are read, and where it is thin is said. No weight is read and no data.
    """
    outputs.check([json_file], [given["model"], given["graph"]])
    given["constants"] = parameters.table(given["constants"], "--set", parameters.constant)

    from nla import api
    from nla.rendering.trainability import print_trainability, trainability_rows

    with progress.shown() as report:
        found = api.trainability(**given, progress=report)
    show(found, json_file, row_format, print_trainability, trainability_rows)


@command(
    "simulate",
    (
        options.figure,
        options.networks,
        options.points,
        options.max_width,
        options.simulated_depth,
        options.seed,
        options.bias,
        options.non_negative_data,
        options.work,
        writing.json_file,
        options.row_format,
        options.plot,
        drawing.theme,
        writing.quiet,
        options.threads,
    ),
    examples=(
        "nla theory simulate --figure 2 --plot born.svg",
        "nla theory simulate --figure 6 --max-width 8 --format csv > living.csv",
        "nla theory simulate --figure 4 --work paths.npz --json paths.json",
    ),
)
def simulate(
    json_file: str | None, row_format: str, plot: str | None, theme: str, quiet: bool, **given: Any
) -> None:
    """Count random ReLU networks that are born alive.

    The simulations of the paper on neuron death in deep rectifier networks, with 95 % intervals: as many networks,
    points, widths and layers as there, in a minute.
    """
    check(json_file, plot, given["work"])
    given["figure"] = int(given["figure"])

    from nla import api
    from nla.rendering.simulation import print_simulation

    with progress.shown(quiet) as report:
        found = api.simulate(**given, progress=report)
    if given["work"]:
        outputs.wrote(given["work"])
    if plot is not None:
        draw(found, plot, theme)
    show(found, json_file, row_format, print_simulation, lambda seen: seen.rows(), quiet)


@command(
    "activations",
    (options.names, writing.json_file, options.row_format, options.plot, drawing.theme),
    examples=(
        "nla theory activations",
        "nla theory activations relu gelu swish --plot activations.svg",
        "nla theory activations --format csv > activations.csv",
    ),
)
def activations(
    names: tuple[str, ...], json_file: str | None, row_format: str, plot: str | None, theme: str
) -> None:
    """Compare activations: slopes, flat regions, gains, risks.

    All that are functions of one pre-activation z, or those of these NAMEs. The document (--json) holds their curves.
    """
    check(json_file, plot)

    from nla import api
    from nla.rendering.activation_table import activation_rows, print_activations

    found = api.activation_table(names)
    if plot is not None:
        draw(found, plot, theme)
    show(found, json_file, row_format, print_activations, activation_rows)


@command(
    "variance",
    (
        options.scheme,
        options.activation,
        options.one_width,
        options.one_depth,
        options.drawn_networks,
        options.drawn_points,
        options.seed,
        writing.json_file,
        options.row_format,
        options.plot,
        drawing.theme,
        writing.quiet,
    ),
    examples=(
        "nla theory variance",
        "nla theory variance --scheme he-normal,torch-default --activation gelu --depth 32",
        "nla theory variance --plot sizes.svg",
    ),
)
def variance(
    json_file: str | None, row_format: str, plot: str | None, theme: str, quiet: bool, **given: Any
) -> None:
    """Predict the size of pre-activations layer by layer.

    And measure it: over weights and data, which He initialisation keeps, and over the data at given weights, which
    falls with depth all the same; beside eq. 5 of the lifecycle paper as printed, which takes one for the other.
    """
    check(json_file, plot)

    from nla import api
    from nla.rendering.variance import print_variance

    with progress.shown(quiet) as report:
        found = api.variance(**given, progress=report)
    if plot is not None:
        draw(found, plot, theme)
    show(found, json_file, row_format, print_variance, lambda seen: seen.rows(), quiet)


for _command in (trainability, initialisation, simulate, phases, variance, activations, gradient):
    theory.add_command(_command)
