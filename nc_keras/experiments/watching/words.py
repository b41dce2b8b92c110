"""What is said of a run, in the terminal and on the page alike."""

import collections
from collections.abc import Iterable

from nc_keras.experiments.watching.states import MARKS
from nc_keras.experiments.watching.states import Row

# The headings of `cells`, in the lines that a terminal has them in.
HEADINGS = (
    "epoch",
    "train\nerr %",
    "test\nerr %",
    "NC1",
    "TPT\nfrom",
    "s per\nepoch",
    "time\nleft",
)


def cells(row: Row) -> list[str]:
    """Returns the numbers of a run as text, in the order of `HEADINGS`."""
    metrics = row.metrics
    epoch = f"{metrics.epoch}/{row.total or '?'}"
    if row.state == "planned":
        return [epoch] + [""] * (len(HEADINGS) - 1)
    return [
        epoch,
        percent(metrics.last.get("error")),
        percent(metrics.last.get("test_error")),
        digits(metrics.last.get("nc1")),
        str(metrics.terminal_epoch or "–"),
        digits(metrics.pace),
        duration(row.left),
    ]


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Returns how many runs there are in each state that there are any in."""
    found = collections.Counter(row.state for row in rows)
    return {state: found[state] for state in MARKS if found[state]}


def duration(seconds: float | None) -> str:
    """Returns a time in the unit that suits it, or a dash."""
    if seconds is None:
        return "–"
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        number = seconds / size
        if round(number) < most:
            return f"{number:.1f} h" if unit == "h" else f"{number:.0f} {unit}"
    return f"{seconds / 86400:.1f} d"


def percent(number: float | None) -> str:
    """Returns a part of one as percent, or a dash."""
    return "–" if number is None else f"{100 * number:.2f}"


def digits(number: float | None) -> str:
    """Returns three digits of a number of any size, or a dash."""
    return "–" if number is None else f"{number:.3g}"
