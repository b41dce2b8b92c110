"""Compares heads and losses on one data set, over several seeds.

    python -m recipes.compare digits
    python -m recipes.compare fashion_mnist --network conv_net --epochs 40
    python -m recipes.compare my_recipe.py

Takes the settings of a recipe, which comes first: the name of one of ours, or
a module or file of your own with `SETTINGS` (see docs/own.md); but trains
every head (learned, fixed ETF, fixed ETF with as many features as classes,
weight-normalised) with every loss (CE, MSE, rescaled square) and three seeds,
each seed with the same order of the images, and the same initial body where
the features have the same dimension, for all. A recipe's own heads and losses
are among them. Every option of the recipe is an option here. A comparison that
is stopped goes on with the runs that have not finished.
"""

import dataclasses
import importlib.util
import shlex
import sys

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.names import nearest
from nc_keras.experiments.console.program import program
from nc_keras.experiments.options.built_in import HEADS
from nc_keras.experiments.options.built_in import LOSSES
from nc_keras.experiments.options.own import module_of
from nc_keras.experiments.options.settings import Settings
from recipes import cifar10
from recipes import cifar100
from recipes import digits
from recipes import fashion_mnist
from recipes import fashion_mnist_mlp
from recipes import imagenet2012
from recipes import mnist
from recipes import stl10
from recipes import svhn_cropped

RECIPES = {
    recipe.__name__.rpartition(".")[2]: recipe.SETTINGS
    for recipe in (
        digits,
        mnist,
        fashion_mnist,
        cifar10,
        cifar100,
        svhn_cropped,
        stl10,
        imagenet2012,
        fashion_mnist_mlp,
    )
}


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # Of what would be its package.
        return False


def recipe_of(name: str) -> Settings:
    """Returns the settings of a recipe.

    Args:
        name: The name of one of ours, a module with `SETTINGS`, or the path
            of its file.

    Raises:
        ValueError: If there is none.
    """
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith(".py") and not _is_module(name):
        raise ValueError(nearest("The recipe", name, RECIPES))
    settings = getattr(module_of(name), "SETTINGS", None)
    if not isinstance(settings, Settings):
        raise ValueError(
            f"{name} must have `SETTINGS = Settings(...)`. "
            f"Received: SETTINGS={type(settings).__name__}."
        )
    return settings


def command_of(name: str) -> list[str]:
    """The words of the command of a recipe.

    Args:
        name: As in `recipe_of`.
    """
    if name.endswith(".py"):
        return ["python", name]
    module = f"recipes.{name}" if name in RECIPES else name
    return ["python", "-m", module]


def settings_of(name: str) -> Settings:
    """Returns what a comparison does by itself.

    Args:
        name: The name of a recipe.
    """
    recipe = recipe_of(name)
    return dataclasses.replace(
        recipe,
        heads=(*HEADS, *recipe.own.get("heads", ())),
        losses=(*LOSSES, *recipe.own.get("losses", ())),
        seeds=(0, 1, 2),
        deepfool=100,
    )


def compare(arguments: list[str]) -> None:
    """Runs a comparison, and exits.

    Args:
        arguments: The name of a recipe, and options.
    """
    text = f"{__doc__}\nRecipes: {', '.join(RECIPES)}"
    if not arguments:
        sys.exit(text)
    if arguments[0] in ("-h", "--help"):
        print(text)
        return
    name, *options = arguments

    def work():
        prog = shlex.join([*program(), name])
        main(settings_of(name), __doc__, options, prog=prog)

    run_command(work)


if __name__ == "__main__":
    compare(sys.argv[1:])
