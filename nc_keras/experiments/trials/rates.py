"""What a sweep of the learning rate came to: table, plot, and the best rate.

Everything is read from the folders of the runs: `rate-<rate>` is a recipe's
folder like any other.
"""

import collections
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.datasets import ImageStream
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results import plots
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.results.record import command
from nc_keras.experiments.results.record import machine
from nc_keras.experiments.results.record import place
from nc_keras.experiments.results.record import read_run
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import RUN
from nc_keras.experiments.results.summary import Group
from nc_keras.experiments.results.summary import Statistic
from nc_keras.experiments.results.summary import format_statistic
from nc_keras.experiments.results.summary import problem
from nc_keras.experiments.results.summary import value
from nc_keras.experiments.trials.trial import Trial
from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import writable_directory

RULE = (
    "Chosen by the lowest test error at the last epoch, the papers' rule: the "
    "test set took part in the choice."
)
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


def report(
    folder: pathlib.Path,
    settings: Settings,
    points: Sequence[Point],
    commands: Mapping[tuple[str, str], str],
    interrupted: bool,
) -> None:
    """Prints the tables, writes record and plot, and says where they are.

    Args:
        folder: The folder of the sweep.
        settings: The settings of the recipe.
        points: What each rate came to.
        commands: For loss and head, the command of the recipe at its best.
        interrupted: Whether trials are missing.
    """
    best = best_points(points)
    screen = console()
    for key in dict.fromkeys(point.key for point in points):
        screen.print(table(settings.title, key, points, best), "")
    record = build_record(settings, points, commands, interrupted)
    write_json(folder / "sweep.json", record)
    if any(point.group.runs for point in points):
        plot(folder / "sweep.png", settings.title, points, best)
        print(f"plot    {folder / 'sweep.png'}")
    print(f"record  {folder / 'sweep.json'}")
    if interrupted:
        print("Interrupted: the same command goes on with what is missing.")
    if best:
        print(RULE)
    for point in best:
        print(f"\n{_sentence(point, points)}\n{commands[point.key]}")
    if not best:
        print("There is no best rate: no trial came to a good end.")


def table(
    title: str,
    key: tuple[str, str],
    points: Sequence[Point],
    best: Sequence[Point],
) -> Table:
    """Returns the table of one loss and head, a row for each rate."""
    drawn = Table(
        title=Text(f"{title}, {', '.join(key)}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for heading in ("rate", "test error %", "train error %", "NC1"):
        drawn.add_column(heading, justify="right")
    drawn.add_column("zero error", justify="right")
    drawn.add_column("state")
    for point in points:
        if point.key != key:
            continue
        chosen = point in best
        drawn.add_row(
            f"{point.rate:.4g}",
            format_statistic(point.test_error, "percent"),
            format_statistic(point.train_error, "percent"),
            format_statistic(point.nc1, "number"),
            point.terminal_epoch,
            Text("best" if chosen else point.state),
            style="bold" if chosen else None,
        )
    return drawn


def build_record(
    settings: Settings,
    points: Sequence[Point],
    commands: Mapping[tuple[str, str], str],
    interrupted: bool,
) -> dict:
    """Returns the content of `sweep.json`."""
    return {
        "title": settings.title,
        "command": command(),
        "rule": RULE,
        "settings": settings.plain(),
        "machine": machine(),
        "interrupted": interrupted,
        "best": [
            _numbers(point) | {"command": commands[point.key]}
            for point in best_points(points)
        ],
        "points": [
            _numbers(point)
            | {
                "states": dict(zip(point.seeds, point.states, strict=True)),
                "folder": point.trials[0].settings.folder.name,
            }
            for point in points
        ],
    }


def plot(
    path: pathlib.Path,
    title: str,
    points: Sequence[Point],
    best: Sequence[Point],
) -> None:
    """Draws accuracy and NC1 against the rate, a column for each loss.

    Args:
        path: The PNG file; one that exists is replaced.
        title: What was trained.
        points: What each rate came to.
        best: Those that are marked.
    """
    losses = list(dict.fromkeys(point.loss for point in points))
    heads = list(dict.fromkeys(point.head for point in points))
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(
            figsize=(1.5 + 4.5 * len(losses), 6), layout="constrained"
        )
        axes = figure.subplots(
            2, len(losses), sharex=True, sharey="row", squeeze=False
        )
        for (upper, lower), loss in zip(axes.T, losses, strict=True):
            for number, head in enumerate(heads):
                look = plots.look(number)
                line = [p for p in points if p.key == (loss, head)]
                _draw(upper, line, _test_accuracy, look, "-")
                _draw(upper, line, _train_accuracy, look, "--")
                _draw(lower, line, _nc1, look, "-")
                for axis in (upper, lower):
                    _mark(axis, line, best, look)
            upper.set_title(loss)
            lower.set_xlabel("learning rate")
            for axis in (upper, lower):
                axis.set_xscale("log")
                axis.grid(True)
                axis.set_axisbelow(True)
        axes[0, 0].set_ylabel("accuracy at the last epoch, %")
        axes[1, 0].set_ylabel("NC1 at the last epoch")
        axes[1, 0].set_yscale("log")
        figure.suptitle(title)
        _legend(figure, heads, points)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    picture = Image.open(buffer).convert("RGB").quantize(128)
    replace_atomically(path, lambda path: picture.save(path, optimize=True))


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


def _numbers(point):
    means = {
        name: getattr(point, name) and getattr(point, name).mean
        for name in ("test_error", "train_error", "nc1")
    }
    return {
        "loss": point.loss,
        "head": point.head,
        "rate": point.rate,
        "seeds": point.seeds,
        **means,
    }


def _sentence(point, points):
    """What the best rate is, and how sure that is."""
    others = [p for p in points if p.key == point.key and p.sound]
    equal = sum(p.merit[0] == point.merit[0] for p in others) - 1
    words = (
        f"{point.loss}, {point.head}: the best rate is {point.rate:.7g}, test "
        f"error {format_statistic(point.test_error, 'percent')} %"
    )
    if equal:
        words += f", which {equal} other rates have too"
    if point.rate in (others[0].rate, others[-1].rate) and len(others) > 1:
        words += "; it is at the end of the rates, beyond which none was tried"
    return words + "."


def _test_accuracy(run):
    return _percent(value(run, "val_nc_accuracy", END))


def _train_accuracy(run):
    return _percent(value(run, "nc_accuracy", END))


def _nc1(run):
    return value(run, "nc1", END)


def _percent(share):
    return None if share is None else 100 * share


def _draw(axis, line, read, look, style):
    """Draws the mean over the seeds, and their range."""
    color, marker = look
    values = [
        [v for run in point.group.runs if (v := read(run)) is not None]
        for point in line
    ]
    drawn = [
        (point.rate, math.fsum(v) / len(v), min(v), max(v))
        for point, v in zip(line, values, strict=True)
        if v
    ]
    if not drawn:
        return
    rates, means, low, high = zip(*drawn, strict=True)
    axis.plot(rates, means, style, color=color, lw=1.5, marker=marker, ms=4)
    if low != high:
        axis.fill_between(rates, low, high, color=color, alpha=0.18, lw=0)


def _mark(axis, line, best, look):
    """Marks the best rate, and at the foot those that were left out."""
    for point in line:
        if point in best:
            axis.axvline(point.rate, color=look[0], lw=1.2, ls=":")
        if point.group.failed:
            axis.plot(
                *(point.rate, 0.03),
                *("x",),
                color=look[0],
                transform=axis.get_xaxis_transform(),
            )


def _legend(figure, heads, points):
    entries = {
        head: Line2D([], [], color=color, marker=marker, ms=4)
        for head, color, marker in zip(
            heads, plots.COLORS, plots._MARKERS, strict=False
        )
    }
    for name, style in (("test", "-"), ("train", "--"), ("best rate", ":")):
        entries[name] = Line2D([], [], color=plots.INK, ls=style, lw=1.2)
    if any(point.group.failed for point in points):
        entries["no good end"] = Line2D(
            [], [], color=plots.INK, marker="x", ls=""
        )
    if any(len(point.group.runs) > 1 for point in points):
        entries["smallest to largest seed"] = Patch(
            color=plots.INK, alpha=0.18, lw=0
        )
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=min(4, len(entries)),
    )
