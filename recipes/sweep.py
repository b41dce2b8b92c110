"""Sweeps the learning rate of a recipe, and chooses by the papers' rule.

    python -m recipes.sweep digits
    python -m recipes.sweep mnist --loss mse --gpus-per-trial 0.25

Trains with 25 log-spaced rates from 1e-4 to 0.25 and takes the one with the
lowest test error at the last epoch, as the papers do: the rule selects on the
test set, so that its error at the best rate is no longer an unbiased one. Of
several seeds the mean counts; of several heads and losses each has its best
rate. Of equal test errors the lower training error decides, then the lower
training loss. A rate whose loss was not finite is left out.

Takes the settings of a recipe, which comes first (the name of one of ours, or a
module or file of your own with `SETTINGS`), with the learned head alone. Trials
run on Ray Tune, as many at once as there is room for. A sweep that is stopped,
or killed, goes on with the same command: no trial that has finished runs again.
Rates, heads, losses and seeds may be added to a folder. The command that it
prints repeats a trial to the last digit if it runs on as many threads
(`--cpus-per-trial`), and otherwise but for rounding.
"""

import dataclasses
import math
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tyro

from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.program import program
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.options.protocol import LEARNING_RATES
from nc_keras.experiments.options.settings import Settings
from nc_keras.writers.files import writable_directory
from recipes.compare import RECIPES
from recipes.compare import command_of
from recipes.compare import recipe_of


@dataclasses.dataclass(frozen=True)
class _AnyRate(Settings):
    """The settings of a recipe but for the rates, which the sweep sets.

    It has a figure and a table of its own, which no option changes.
    """

    learning_rate: tyro.conf.Suppress[float | None] = None
    rates: tyro.conf.Suppress[dict[str, float]] = dataclasses.field(
        default_factory=dict
    )
    formats: tyro.conf.Suppress[tuple[str, ...]] = ()
    tables: tyro.conf.Suppress[tuple[str, ...]] = ()
    spread: tyro.conf.Suppress[str] = "range"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The command line of a sweep."""

    settings: tyro.conf.OmitArgPrefixes[_AnyRate]
    cluster: tyro.conf.OmitArgPrefixes[Cluster] = Cluster()

    rates: tuple[float, ...] = ()
    """The rates themselves. Defaults to log-spaced ones."""

    count: int = len(LEARNING_RATES)
    """How many log-spaced rates."""

    low: float = LEARNING_RATES[0]
    """The lowest of the log-spaced rates."""

    high: float = LEARNING_RATES[-1]
    """The highest of the log-spaced rates."""

    def __post_init__(self):
        if self.count < 1:
            raise ValueError(
                f"`count` must be 1 or more. Received: count={self.count}."
            )
        if not 0 < self.low <= self.high < math.inf:
            raise ValueError(
                "`low` must be positive and at most `high`. "
                f"Received: low={self.low}, high={self.high}."
            )
        if not all(0 < rate < math.inf for rate in self.rates):
            raise ValueError(
                "`rates` must be positive and finite. "
                f"Received: rates={self.rates}."
            )

    @property
    def all_rates(self) -> list[float]:
        """The rates, to seven digits, which is what the papers give."""
        rates = self.rates or np.geomspace(self.low, self.high, self.count)
        return sorted({float(f"{rate:.7g}") for rate in rates})


def parse(name: str, arguments: Sequence[str]) -> tuple[Settings, Sweep]:
    """Returns the recipe, and the command line of its sweep.

    Args:
        name: The name of the recipe.
        arguments: The options.
    """
    recipe = recipe_of(name)
    asked = tyro.cli(
        Sweep,
        prog=shlex.join([*program(), name]),
        default=Sweep(_default(recipe)),
        description=__doc__,
        args=arguments,
    )
    return recipe, asked


def sweep(arguments: Sequence[str]) -> None:
    """Runs a sweep, and exits.

    The exit status is 0, or 130 after Ctrl-C, or 1 after an error or where no
    rate came to an end.

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
    run_command(lambda: run(name, *parse(name, options)))


def run(name: str, recipe: Settings, asked: Sweep) -> int:
    """Runs a sweep.

    Args:
        name: The name of the recipe.
        recipe: The settings of the recipe.
        asked: The command line.

    Returns:
        The exit status.
    """
    import_keras()
    from keras.backend import backend

    from nc_keras.experiments.datasets.loading import prepare
    from nc_keras.experiments.trials import rates
    from nc_keras.experiments.trials import sweep_report
    from nc_keras.experiments.trials.pool import only_one_here
    from nc_keras.experiments.trials.pool import run_trials

    given = Settings(**vars(asked.settings))
    settings = given.settled(recipe)
    folder = settings.output or pathlib.Path(
        "runs", f"sweep-{settings.dataset}-{settings.network}"
    )
    writable_directory(folder)
    # What is wrong with data or batch is said once, and here.
    dataset = prepare(settings)
    with only_one_here(folder):
        trials = rates.claim(settings, folder, asked.all_rates, dataset)
        outcome = run_trials(trials, folder, asked.cluster, settings.progress)
        points = rates.points(settings, folder, trials, outcome.errors)
        commands = {
            point.key: f"KERAS_BACKEND={backend()} "
            + best_command(name, recipe, given, point, folder)
            for point in rates.best_points(points)
        }
        sweep_report.report(
            folder, settings, points, commands, outcome.interrupted
        )
    return 130 if outcome.interrupted else int(not commands)


def best_command(
    name: str,
    recipe: Settings,
    given: Settings,
    point: Any,
    folder: pathlib.Path,
) -> str:
    """The command of the recipe with a rate of the sweep.

    Args:
        name: The name of the recipe.
        recipe: The settings of the recipe.
        given: The settings of the sweep's command line.
        point: The `Point` of `trials.rates`: loss, head, seeds and rate.
        folder: The folder of the sweep, below which the recipe's will be.
    """
    options = {
        "learning_rate": f"{point.rate:.7g}",
        "losses": point.loss,
        "heads": point.head,
        "seeds": point.seeds,
    }
    default = _default(recipe)
    for field in dataclasses.fields(Settings):
        value = getattr(given, field.name)
        if value != getattr(default, field.name):
            options.setdefault(field.name, value)
    for free in ("progress", "own"):
        options.pop(free, None)
    options["output"] = folder / f"best-{point.loss}-{point.head}"
    words = command_of(name)
    for option, value in options.items():
        several = value if isinstance(value, tuple) else (value,)
        several = [given.spelled(option, one) for one in several]
        words += [f"--{option.replace('_', '-')}", *map(str, several)]
    return shlex.join(words)


def _default(recipe: Settings) -> _AnyRate:
    """What a sweep of a recipe does by itself."""
    settings = dataclasses.replace(recipe, heads=("linear",), deepfool=0)
    return _AnyRate(**vars(settings))


if __name__ == "__main__":
    sweep(sys.argv[1:])
