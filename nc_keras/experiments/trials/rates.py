"""What each rate of a sweep came to, and which is the best.

Everything is read from the folders of the runs: `rate-<rate>` is a recipe's
folder like any other.
"""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.results.record import place
from nc_keras.experiments.results.record import read_run
from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import RUN
from nc_keras.experiments.results.summary import Group
from nc_keras.experiments.results.summary import Statistic
from nc_keras.experiments.results.summary import format_statistic
from nc_keras.experiments.results.summary import problem
from nc_keras.experiments.trials.trial import Trial
from nc_keras.writers.files import writable_directory

FINISHED = "finished"

_PREFIX = "rate-"


@dataclasses.dataclass(frozen=True)
class Point:
    """One rate with one loss and head, over its seeds.

    Attributes:
        loss: String.
        head: String.
        rate: Float.
        trials: The trials, a seed each.
        states: How each of them ended; `FINISHED` if well.
        group: The runs that there are.
    """

    loss: str
    head: str
    rate: float
    trials: tuple[Trial, ...]
    states: tuple[str, ...]
    group: Group

    @property
    def key(self) -> tuple[str, str]:
        """Loss and head."""
        return self.loss, self.head

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(trial.run.seed for trial in self.trials)

    @property
    def sound(self) -> bool:
        """Whether it may be chosen: every seed came to a good end."""
        return set(self.states) == {FINISHED}

    @property
    def state(self) -> str:
        """How its trials ended, in words, without the reason of an error."""
        states = [state.partition(": ")[0] for state in self.states]
        if len(states) == 1:
            return states[0]
        counts = collections.Counter(states)
        return ", ".join(f"{n} {state}" for state, n in counts.items())

    @property
    def test_error(self) -> Statistic | None:
        """The share of test images that are wrong at the last epoch."""
        return _error(self.group.statistic("val_nc_accuracy", END))

    @property
    def train_error(self) -> Statistic | None:
        """The share of training images that are wrong at the last epoch."""
        return _error(self.group.statistic("nc_accuracy", END))

    @property
    def nc1(self) -> Statistic | None:
        """NC1 at the last epoch."""
        return self.group.statistic("nc1", END)

    @property
    def terminal_epoch(self) -> str:
        """The epoch of zero training error, in words."""
        if self.group.runs and not self.group.reached:
            return "never"
        epoch = self.group.statistic("terminal_epoch", RUN)
        return format_statistic(epoch, "epoch")

    @property
    def merit(self) -> tuple[float, ...]:
        """What the choice minimises, from the first to the last."""
        loss = self.group.statistic("loss", END)
        numbers = (self.test_error, self.train_error, loss)
        # Rounded, so that means of the same errors are the same.
        return tuple(
            math.inf if number is None else round(number.mean, 12)
            for number in numbers
        )


def claim(
    settings: Settings,
    folder: pathlib.Path,
    rates: Sequence[float],
    dataset: Dataset | ImageStream,
) -> list[Trial]:
    """Makes a folder for each rate, and returns the trials of a sweep.

    Args:
        settings: The settings of the recipe, whose rate is replaced.
        folder: The folder of the sweep.
        rates: The rates.
        dataset: The data in use.

    Raises:
        ValueError: If the folder has runs of other settings or other data.
    """
    for rate in sorted({*_found(folder), *rates}):
        at = _at(settings, folder, rate)
        writable_directory(at.folder)
        claim_folder(at, dataset)
    return [
        Trial(f"rate {rate:.4g}", at, run)
        for rate in rates
        for at in [_at(settings, folder, rate)]
        for run in at.runs
    ]


def points(
    settings: Settings,
    folder: pathlib.Path,
    trials: Sequence[Trial],
    errors: Mapping[pathlib.Path, str],
) -> list[Point]:
    """Reads what each rate came to, also those of an earlier command.

    Args:
        settings: The settings of the recipe.
        folder: The folder of the sweep.
        trials: The trials of this command.
        errors: For each folder of a trial that broke off, why.

    Returns:
        The points by loss, head and rate.
    """
    members = {}
    for trial in [*_earlier(settings, folder), *trials]:
        run = trial.run
        key = run.loss, run.head, trial.settings.learning_rate
        members.setdefault(key, {})[run.seed] = trial
    order = sorted(
        members,
        key=lambda key: (
            place(key[0], settings.all_losses),
            place(key[1], settings.all_heads),
            key[2],
        ),
    )
    return [
        _point(
            *key, [trial for _, trial in sorted(members[key].items())], errors
        )
        for key in order
    ]


def best_points(points: Sequence[Point]) -> list[Point]:
    """The best rate of each loss and head that has any.

    A rate that has fewer seeds than another one is not compared with it.
    """
    most = collections.defaultdict(int)
    for point in points:
        most[point.key] = max(most[point.key], len(point.seeds))
    best = {}
    for point in points:
        if not point.sound or len(point.seeds) < most[point.key]:
            continue
        if point.key not in best or point.merit < best[point.key].merit:
            best[point.key] = point
    return list(best.values())


def _at(settings, folder, rate):
    return dataclasses.replace(
        settings, learning_rate=rate, output=folder / f"{_PREFIX}{rate:.7g}"
    )


def _found(folder):
    """The rates that a sweep has folders of."""
    paths = folder.glob(f"{_PREFIX}*/settings.json")
    return [float(path.parent.name.removeprefix(_PREFIX)) for path in paths]


def _earlier(settings, folder):
    """All trials that have begun."""
    for rate in _found(folder):
        at = _at(settings, folder, rate)
        for path in at.folder.glob("*/run.json"):
            facts = json.loads(path.read_text())
            run = Run(*(facts[name] for name in ("loss", "head", "seed")))
            yield Trial(f"rate {rate:.4g}", at, run)


def _point(loss, head, rate, trials, errors):
    runs = [read_run(trial.folder) for trial in trials]
    states = tuple(
        _state(trial, run, errors.get(trial.folder))
        for run, trial in zip(runs, trials, strict=True)
    )
    ended = list(zip(runs, states, strict=True))
    sound = tuple(run for run, state in ended if state == FINISHED)
    broken = tuple(run for run, state in ended if run and state != FINISHED)
    group = Group(loss, head, sound, (), broken)
    return Point(loss, head, rate, tuple(trials), states, group)


def _state(trial, run, error):
    """How a trial ended, in words."""
    if error is not None:
        return f"failed: {error}"
    if run is None:
        begun = (trial.folder / "run.json").exists()
        return "interrupted at epoch 1" if begun else "not started"
    if not run.get("finished"):
        return f"interrupted at epoch {run['epochs'] + 1}"
    return problem(run) or FINISHED


def _error(accuracy):
    if accuracy is None:
        return None
    return dataclasses.replace(accuracy, mean=1 - accuracy.mean)
