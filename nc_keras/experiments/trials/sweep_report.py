"""What a sweep of the learning rate came to, as people read it."""

import io
import math
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results.record import command
from nc_keras.experiments.results.record import machine
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import format_statistic
from nc_keras.experiments.results.summary import value
from nc_keras.experiments.trials.rates import Point
from nc_keras.experiments.trials.rates import best_points
from nc_keras.plot import style
from nc_keras.writers.files import replace_atomically

RULE = (
    "Chosen by the lowest test error at the last epoch, the papers' rule: the "
    "test set took part in the choice."
)


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
    with style.styled():
        figure = style.new_figure(1.5 + 4.5 * len(losses), 6)
        axes = figure.subplots(
            2, len(losses), sharex=True, sharey="row", squeeze=False
        )
        for (upper, lower), loss in zip(axes.T, losses, strict=True):
            for number, head in enumerate(heads):
                look = style.look(number)
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


def _draw(axis, line, read, look, dashes):
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
    axis.plot(rates, means, dashes, color=color, lw=1.5, marker=marker, ms=4)
    if low != high:
        axis.fill_between(rates, low, high, color=color, alpha=style.BAND, lw=0)


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
            heads, style.COLORS, style.MARKERS, strict=False
        )
    }
    for name, dashes in (("test", "-"), ("train", "--"), ("best rate", ":")):
        entries[name] = Line2D([], [], color=style.INK, ls=dashes, lw=1.2)
    if any(point.group.failed for point in points):
        entries["no good end"] = Line2D(
            [], [], color=style.INK, marker="x", ls=""
        )
    if any(len(point.group.runs) > 1 for point in points):
        entries["smallest to largest seed"] = Patch(
            color=style.INK, alpha=style.BAND, lw=0
        )
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=min(4, len(entries)),
    )
