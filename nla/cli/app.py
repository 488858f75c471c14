"""The `nla` command: its subcommands, and one run of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from nla import __version__
from nla.cli.apply import apply
from nla.cli.certify import certify
from nla.cli.check import check
from nla.cli.command import SETTINGS, Group
from nla.cli.compare import compare
from nla.cli.completion import completion
from nla.cli.criteria import criteria
from nla.cli.diff import diff
from nla.cli.export import export
from nla.cli.inspect import inspect
from nla.cli.masks import masks
from nla.cli.merge import merge
from nla.cli.neurons import neurons
from nla.cli.plan import plan
from nla.cli.plot import plot
from nla.cli.prune import prune
from nla.cli.repair import repair
from nla.cli.report import report
from nla.cli.sites import sites
from nla.cli.swap import swap
from nla.cli.theory import theory
from nla.cli.track import track
from nla.cli.undo import undo
from nla.cli.verify import verify
from nla.errors import UsageError

NAME = "nla"
COMPLETION_VARIABLE = "_NLA_COMPLETE"
"""Set by the shell when it asks for completions; the scripts of `nla completion` name it."""


@click.group(
    NAME,
    cls=Group,
    context_settings=SETTINGS,
    examples=("nla inspect model.onnx --data calibration.npz -o run.h5", "nla neurons run.h5 --state dead"),
)
@click.version_option(__version__, "-V", "--version", message="nla %(version)s")
def nla() -> None:
    """Say which lifecycle state every neuron of an exported checkpoint is in, and how sure that is.

    A checkpoint is an ONNX file as it was exported, or safetensors in Hugging Face layout; no training
    framework is needed.
    `nla COMMAND --help` shows examples and options.
    """


_COMMANDS = (
    inspect,
    sites,
    neurons,
    plan,
    apply,
    verify,
    check,
    diff,
    compare,
    track,
    report,
    plot,
    certify,
    undo,
    masks,
    prune,
    repair,
    swap,
    export,
    merge,
    theory,
    criteria,
    completion,
)
for _command in _COMMANDS:
    nla.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run the command line on these arguments and give back its exit code.

    Raises:
        NlaError: the input is at fault, the arguments included.
    """
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(nla, {}, NAME, COMPLETION_VARIABLE, instruction)
    try:
        with nla.make_context(NAME, list(arguments) or ["--help"]) as context:
            code = nla.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as fault:
        raise UsageError(_said(fault)) from fault
    return code if isinstance(code, int) else 0


def _said(fault: click.ClickException) -> str:
    """What click found wrong, and where the right way is described."""
    context = getattr(fault, "ctx", None)
    path = context.command_path if context is not None else NAME
    return f"{fault.format_message().rstrip('.')}; see '{path} --help'"
