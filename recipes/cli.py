"""The command line that every recipe shares."""

import importlib
import os
import sys

import tyro

from recipes.quiet import silenced
from recipes.settings import Settings


def main(default: Settings, description: str) -> None:
    """Runs a recipe with the settings of the command line, and exits.

    The exit status is 0, or 130 after Ctrl-C, or 1 after an error.

    Args:
        default: The recipe's settings; each is an option of the command.
        description: String, the text of `--help`.
    """
    try:
        settings = tyro.cli(Settings, default=default, description=description)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # Only now, so that `--help` comes at once.
        with silenced(2):
            run = importlib.import_module("recipes.run").run
        sys.exit(run(settings))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
