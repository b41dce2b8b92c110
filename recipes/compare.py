"""Compares heads and losses on one data set, over several seeds.

    python -m recipes.compare digits
    python -m recipes.compare fashion_mnist --network conv_net --epochs 40

Takes the settings of the data set's recipe (its name comes first), but trains
every head (learned, fixed ETF, fixed ETF with as many features as classes,
weight-normalised) with every loss (CE, MSE, rescaled square) and three seeds,
each seed with the same order of the images, and the same initial body where
the features have the same dimension, for all. Every option of the recipe is an
option here. A comparison that is stopped goes on with the runs that have not
finished.
"""

import dataclasses
import sys

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.console.names import nearest
from nc_keras.experiments.options.settings import HEADS
from nc_keras.experiments.options.settings import LOSSES
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


def settings_of(name: str) -> Settings:
    """Returns what a comparison does by itself.

    Args:
        name: The name of a recipe.
    """
    return dataclasses.replace(
        RECIPES[name],
        heads=HEADS,
        losses=LOSSES,
        seeds=(0, 1, 2),
        deepfool=100,
    )


def compare(arguments: list[str]) -> None:
    """Runs a comparison, and exits.

    Args:
        arguments: The name of a recipe, and options.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(f"{__doc__}\nRecipes: {', '.join(RECIPES)}")
    name, *options = arguments
    if name not in RECIPES:
        sys.exit(f"error: {nearest('The data set', name, RECIPES)}")
    prog = f"recipes.compare {name}"
    main(settings_of(name), __doc__, options, prog=prog)


if __name__ == "__main__":
    compare(sys.argv[1:])
