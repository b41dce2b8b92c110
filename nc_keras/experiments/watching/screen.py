"""Draws the runs in a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nc_keras.experiments.watching import words
from nc_keras.experiments.watching.states import MARKS
from nc_keras.experiments.watching.states import Row
from nc_keras.experiments.watching.states import time_left

_STYLES = {
    "running": "bold cyan",
    "diverged": "bold red",
    "damaged": "bold red",
    "stopped": "yellow",
    "finished": "green",
    "planned": "dim",
}
_MOST_REMARKS = 5
# Two lines and an empty one above the table; its heading and a rule.
_LINES_ABOVE = 3 + 3


def screen(rows: Sequence[Row], title: str, height: int | None = None) -> Group:
    """Returns what the terminal shows.

    Args:
        rows: Sequence of `Row`, the runs.
        title: String, what is watched.
        height: Integer, the lines of the terminal: the last runs, for which
            there is no line, are only counted. `None` shows them all.
    """
    first = _line((title, "bold"))
    left = time_left(rows)
    if left is not None:
        first.append(f"   {words.duration(left)} left", "bold cyan")
    if not rows:
        return Group(first, "", Text("No run yet.", "dim"))
    remarks = _remarks(rows)
    shown, more = rows, []
    if height is not None:
        room = max(2, height - _LINES_ABOVE - len(remarks))
        if len(rows) > room:
            shown, rest = rows[: room - 1], rows[room - 1 :]
            more = [_line(f"… and {len(rest)} more: ", _counted(rest))]
    table = _table(shown)
    return Group(first, _counted(rows), "", table, *more, *remarks)


def _counted(rows):
    parts = [
        (f"{MARKS[state]} {count} {state}  ", _STYLES[state])
        for state, count in words.counts(rows).items()
    ]
    return _line(*parts)


def _line(*parts):
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _remarks(rows):
    found = [row for row in rows if row.remark]
    lines = [
        _line(
            (f"{MARKS[row.state]} ", _STYLES[row.state]),
            f"{row.name}: {row.remark}",
        )
        for row in found[:_MOST_REMARKS]
    ]
    if len(found) > _MOST_REMARKS:
        lines.append(_line(f"  … and {len(found) - _MOST_REMARKS} more"))
    return lines


def _table(rows):
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0
    )
    table.add_column(no_wrap=True)
    # The only column that becomes narrower where there is not enough room.
    table.add_column("run")
    for heading in words.HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        mark = Text(MARKS[row.state], _STYLES[row.state])
        style = "dim" if row.state == "planned" else ""
        table.add_row(mark, _Name(row), *words.cells(row), style=style)
    return table


class _Name:
    """The name of a run, cut at its beginning: the end tells runs apart."""

    def __init__(self, row):
        self._name = row.name
        self._style = "bold" if row.state == "running" else ""

    def __rich_measure__(self, console, options):
        return Measurement(1, len(self._name))

    def __rich_console__(self, console, options):
        name, room = self._name, options.max_width
        if len(name) > room:
            name = f"…{name[len(name) - room + 1 :]}"
        yield Text(name, self._style, no_wrap=True)
