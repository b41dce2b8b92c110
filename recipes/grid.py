"""Trains data sets x networks x heads x losses x seeds.

    python -m recipes.grid --datasets digits fashion_mnist_mlp \\
        --networks mlp conv_net --heads linear etf --losses ce mse --seeds 0 1

A data set is named by its recipe, whose settings its runs have: one of ours, or
a module or file of your own with `SETTINGS`. Every option
of a recipe (`python -m recipes.digits --help`) is an option here, for all of
them. Each pair of data set and network has a recipe's folder, with its report.

Trials run on Ray Tune, as many at once as there is room for. A grid that is
stopped, or killed, goes on with the same command: no trial that has finished
runs again. Data sets, networks, heads, losses and seeds may be added.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from collections.abc import Sequence

import tyro

from nc_keras.experiments.command import cli
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.program import program
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.trials.trial import Trial
from nc_keras.writers.files import writable_directory
from recipes.compare import recipe_of


@dataclasses.dataclass(frozen=True)
class Grid:
    """The command line of a grid, less the options of a recipe."""

    datasets: tuple[str, ...]
    """The recipes, such as: digits fashion_mnist_mlp."""

    networks: tuple[str, ...] = ()
    """mlp, conv_net, resnet18, ... Defaults to that of each recipe."""

    output: pathlib.Path = pathlib.Path("runs", "grid")
    """Where results go, a folder for each data set and network."""

    cluster: tyro.conf.OmitArgPrefixes[Cluster] = Cluster()

    def __post_init__(self):
        if not self.datasets:
            raise ValueError(
                "`datasets` must name one or more recipes. "
                f"Received: datasets={self.datasets}."
            )

    def pairs(self, options: Sequence[str]) -> dict[str, Settings]:
        """The settings of each data set and network, by the folder's name.

        Args:
            options: What the command line has for the recipes.
        """
        pairs = {}
        for name in dict.fromkeys(self.datasets):
            recipe = recipe_of(name)
            called = pathlib.Path(name).stem if "/" in name else name
            for network in dict.fromkeys(self.networks or [recipe.network]):
                settings = cli.parse(
                    recipe, arguments=[*options, "--network", network]
                )
                pair = f"{called.removesuffix('.py')}-{settings.network}"
                pairs[pair] = dataclasses.replace(
                    settings, output=self.output / pair
                )
        return pairs


def grid(arguments: Sequence[str]) -> None:
    """Runs a grid, and exits.

    The exit status is 0, or 130 after Ctrl-C, or 1 after an error or where
    there is no result.

    Args:
        arguments: The options.
    """

    def work():
        asked, options = tyro.cli(
            Grid,
            prog=" ".join(program()),
            description=__doc__,
            args=list(arguments),
            return_unknown_args=True,
        )
        for option in ("network", "dataset"):
            if f"--{option}" in options:
                raise ValueError(
                    f"A grid has `--{option}s`. Received: {' '.join(options)}."
                )
        return run(asked, asked.pairs(options))

    run_command(work)


def run(asked: Grid, pairs: Mapping[str, Settings]) -> int:
    """Runs a grid.

    Args:
        asked: The command line.
        pairs: The settings of each data set and network.

    Returns:
        The exit status.
    """
    import_keras()
    from nc_keras.experiments.datasets.loading import prepare
    from nc_keras.experiments.results.record import claim_folder
    from nc_keras.experiments.trials import grid_report
    from nc_keras.experiments.trials.pool import only_one_here
    from nc_keras.experiments.trials.pool import run_trials

    writable_directory(asked.output)
    with only_one_here(asked.output):
        for settings in pairs.values():
            # What is wrong with data or batch is said once, and here.
            dataset = prepare(settings)
            writable_directory(settings.folder)
            claim_folder(settings, dataset)
        trials = [
            Trial(pair, settings, one)
            for pair, settings in pairs.items()
            for one in settings.runs
        ]
        progress = all(settings.progress for settings in pairs.values())
        outcome = run_trials(trials, asked.output, asked.cluster, progress)
        reports = grid_report.report(asked.output, pairs, outcome.interrupted)
        grid_report.tell(trials, outcome.errors)
    if outcome.interrupted:
        print("Interrupted: the same command goes on with what is missing.")
        return 130
    return int(not reports)


if __name__ == "__main__":
    grid(sys.argv[1:])
