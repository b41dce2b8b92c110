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
from typing import Any

import tyro
from rich import box
from rich.table import Table

from nc_keras.experiments.command import cli
from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.program import program
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results import summary
from nc_keras.experiments.results.comparison import export
from nc_keras.experiments.results.page import write_report
from nc_keras.experiments.results.plots import plot_comparison
from nc_keras.experiments.results.record import build_record
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.results.record import read_run
from nc_keras.experiments.results.record import read_runs
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.results.summary import problem
from nc_keras.experiments.trials.pool import only_one_here
from nc_keras.experiments.trials.pool import run_trials
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
        reports = report(asked.output, pairs, outcome.interrupted)
        tell(trials, outcome.errors)
    if outcome.interrupted:
        print("Interrupted: the same command goes on with what is missing.")
        return 130
    return int(not reports)


def report(
    folder: pathlib.Path, pairs: Mapping[str, Settings], interrupted: bool
) -> list[pathlib.Path]:
    """Prints a table of all, and writes record, plot and page of each pair.

    Args:
        folder: The folder of the grid.
        pairs: The settings of each data set and network.
        interrupted: Whether runs are missing.

    Returns:
        The pages.
    """
    records, pages = {}, []
    for pair, settings in pairs.items():
        runs = read_runs(settings)
        if not any(run["measured"] for run in runs):
            continue
        records[pair] = build_record(
            settings, prepare(settings), runs, interrupted
        )
        write_json(settings.folder / "results.json", records[pair])
        plot_comparison(settings.folder / "curves.png", records[pair])
        pages.append(settings.folder / "report.html")
        write_report(pages[-1], records[pair])
        export(
            records[pair], settings.folder, settings.formats, settings.tables
        )
    if not records:
        print("There is no result: no run came to a measured epoch.")
        return []
    console().print(table(records), "")
    for page in pages:
        print(f"report  {page}")
    print(f"panels  tensorboard --logdir {folder}")
    return pages


def table(records: Mapping[str, Mapping[str, Any]]) -> Any:
    """Returns the table of a grid, a row for each pair, loss and head.

    Args:
        records: For each pair, the content of its `results.json`.
    """
    drawn = Table(
        title="At the last epoch, mean ± std over seeds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for heading in ("trained", "loss", "head"):
        drawn.add_column(heading, no_wrap=True)
    for heading in (
        "seeds",
        "test acc. %",
        "train acc. %",
        "NC1",
        "zero error",
    ):
        drawn.add_column(heading, justify="right")
    for pair, record in records.items():
        for (loss, head), group in summary.groups(record).items():
            cells = [
                summary.format_statistic(group.statistic(key, moment), kind)
                for key, moment, kind in (
                    ("val_nc_accuracy", summary.END, "percent"),
                    ("nc_accuracy", summary.END, "percent"),
                    ("nc1", summary.END, "number"),
                    ("terminal_epoch", summary.RUN, "epoch"),
                )
            ]
            if group.runs and not group.reached:
                cells[-1] = "never"
            drawn.add_row(pair, loss, head, str(len(group.runs)), *cells)
    return drawn


def tell(trials: Sequence[Any], errors: Mapping[pathlib.Path, str]) -> None:
    """Prints which trials came to no good end, and why."""
    for trial in trials:
        run = read_run(trial.folder)
        reason = errors.get(trial.folder) or (run and problem(run))
        if reason:
            print(f"{trial.name}: {reason}")


if __name__ == "__main__":
    grid(sys.argv[1:])
