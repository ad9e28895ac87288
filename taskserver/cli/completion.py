"""``taskserver completion``: the script with which a shell completes commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from taskserver.cli.stdout import write

SHELLS = ("bash", "zsh", "fish")
WHERE = """\b
Add this line to your shell's configuration:
  ~/.bashrc                   eval "$(taskserver completion bash)"
  ~/.zshrc                    eval "$(taskserver completion zsh)"
  ~/.config/fish/config.fish  taskserver completion fish | source"""


@click.command(epilog=WHERE)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands, options and their values in SHELL."""
    root = click.get_current_context().find_root()
    made = get_completion_class(shell)
    if made is None or root.info_name is None:
        raise click.UsageError(f"no completion for {shell}")
    write(made(root.command, {}, root.info_name, f"_{root.info_name.upper()}_COMPLETE").source())
