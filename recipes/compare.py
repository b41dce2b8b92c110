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
import importlib
import sys

from recipes.cli import main
from recipes.names import nearest
from recipes.protocol import DATASETS
from recipes.settings import HEADS
from recipes.settings import LOSSES

RECIPES = ("digits", *DATASETS, "fashion_mnist_mlp")


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
    settings = importlib.import_module(f"recipes.{name}").SETTINGS
    settings = dataclasses.replace(
        settings, heads=HEADS, losses=LOSSES, seeds=(0, 1, 2), deepfool=100
    )
    main(settings, __doc__, options, prog=f"recipes.compare {name}")


if __name__ == "__main__":
    compare(sys.argv[1:])
