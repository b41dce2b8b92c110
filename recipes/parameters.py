"""What a fixed head saves: trainable parameters of every network.

    python -m recipes.parameters [--classes 10] [--networks resnet18 vgg11]

Builds each network with a learned head, and with as many features as classes,
and counts. Zhu et al. (2021, https://arxiv.org/abs/2105.02375) report that a
fixed ETF with d = C saves over 20 % of ResNet-18.
"""

import dataclasses
import math
from typing import Literal

import tyro
from rich.table import Table

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.program import program
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.options.built_in import NETWORKS
from nc_keras.experiments.options.settings import Settings

Counts = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Options:
    """Which networks to count."""

    networks: tuple[str, ...] = NETWORKS
    """The networks."""

    classes: int = 10
    """The number of classes."""

    size: int = 32
    """Height and width of the images, which have 3 channels."""

    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """How resnet and densenet begin; auto is imagenet from 65 pixels on."""

    def __post_init__(self):
        # The check, and its message, of a recipe.
        for network in self.networks:
            Settings("cifar10", network=network, stem=self.stem)


def count(network: str, options: Options) -> Counts:
    """Counts the trainable parameters of a network with each head.

    Args:
        network: Its name.
        options: Classes, size of the images and stem.

    Returns:
        For a learned head, a fixed ETF, and one with d = C, the number.
    """
    from nc_keras.experiments.training.networks import build_network

    settings = Settings("cifar10", network=network, stem=options.stem)
    shape = (options.size, options.size, 3)
    counts = {}
    for head in ("linear", "etf_dim_c"):
        model = build_network(settings, head, shape, options.classes)
        counts[head] = sum(math.prod(w.shape) for w in model.trainable_weights)
        if head == "linear":
            # The body is the same: only the head's own weights differ.
            learned = sum(math.prod(w.shape) for w in model.layers[-1].weights)
            counts["etf"] = counts[head] - learned
    return counts


def print_table(options: Options) -> None:
    """Prints a row for each network."""
    table = Table(
        "network",
        *("linear", "ETF", "saved", "ETF, d = C", "saved"),
        title=f"Trainable parameters, {options.classes} classes, "
        f"{options.size}x{options.size}x3 images, stem {options.stem}",
    )
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column.header == "network" else "right"
    for network in options.networks:
        counts = count(network, options)
        linear = counts["linear"]
        table.add_row(
            network,
            f"{linear:,}",
            f"{counts['etf']:,}",
            _saved(counts["etf"], linear),
            f"{counts['etf_dim_c']:,}",
            _saved(counts["etf_dim_c"], linear),
        )
    console().print(table)
    print("A weight-normalised head has one more for each class.")


def _saved(parameters, linear):
    return f"{1 - parameters / linear:.2%}" if parameters < linear else "none"


def main() -> None:
    """Runs the command line."""
    chosen = tyro.cli(Options, prog=" ".join(program()), description=__doc__)
    import_keras()
    print_table(chosen)


if __name__ == "__main__":
    run_command(main)
