"""The command line that every recipe shares."""

from collections.abc import Sequence

import tyro

from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.program import program
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.options.settings import Settings


def parse(
    default: Settings,
    description: str = "",
    arguments: Sequence[str] | None = None,
    prog: str | None = None,
) -> Settings:
    """Returns the settings of a command line, as they are run.

    Args:
        default: The recipe's settings; each is an option of the command.
        description: String, the text of `--help`.
        arguments: The options; by default those of the command line.
        prog: What `--help` calls the command.
    """
    return tyro.cli(
        Settings,
        prog=prog or " ".join(program()),
        default=default,
        description=description,
        args=arguments,
    ).settled(default)


def main(
    default: Settings,
    description: str,
    arguments: Sequence[str] | None = None,
    prog: str | None = None,
) -> None:
    """Runs a recipe with the settings of the command line.

    The exit status is 0, or 130 after Ctrl-C, or 1 after an error.

    Args:
        default: The recipe's settings; each is an option of the command.
        description: String, the text of `--help`.
        arguments: The options; by default those of the command line.
        prog: What `--help` calls the command.
    """

    def work():
        settings = parse(default, description, arguments, prog)
        import_keras(seed=0)
        from nc_keras.experiments.command.comparison import run

        return run(settings)

    run_command(work)
