"""`nla completion`: the script that makes a shell complete nla's commands and options."""

from __future__ import annotations

import click

from nla.cli.command import command

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    (click.argument("shell", type=click.Choice(SHELLS)),),
    examples=('eval "$(nla completion bash)"', "nla completion fish > ~/.config/fish/completions/nla.fish"),
)
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    SHELL is bash, zsh or fish.
    """
    from click.shell_completion import get_completion_class

    from nla.cli.app import COMPLETION_VARIABLE, NAME, nla

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(nla, {}, NAME, COMPLETION_VARIABLE).source())
