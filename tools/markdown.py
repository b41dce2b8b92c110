"""Tables in Markdown."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, Any]], across: bool = False) -> str:
    """Dictionaries of the same keys as a GitHub table.

    Args:
        rows: The dictionaries.
        across: Whether each is a column, with its first value as heading.
    """
    names = list(rows[0])
    cells = [[text(value) for value in row.values()] for row in rows]
    if across:
        names, *cells = [list(one) for one in zip(names, *cells, strict=True)]
    rule = ["---:"] * (len(names) - 1)
    lines = [_row(names[0], names[1:]), _row("---", rule)]
    return "\n".join([*lines, *(_row(row[0], row[1:]) for row in cells)])


def _row(first, others):
    return f"| {first} | {' | '.join(others)} |"


def text(value: Any) -> str:
    """A cell of a table: three digits, yes or no, a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else str(value)
