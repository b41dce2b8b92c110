"""The tables of a comparison, for a terminal, a page and Markdown."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nc_keras.experiments.console import consoles
from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.results.findings import findings
from nc_keras.experiments.results.findings import notices
from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import QUANTITIES
from nc_keras.experiments.results.summary import ZERO
from nc_keras.experiments.results.summary import Group
from nc_keras.experiments.results.summary import Quantity
from nc_keras.experiments.results.summary import by_loss
from nc_keras.experiments.results.summary import format_statistic
from nc_keras.experiments.results.summary import spread_of
from nc_keras.experiments.results.summary import vanished
from nc_keras.tables import Table as Shown

_LABEL_WIDTH = 22
_HEADINGS = {
    "range": "mean ± std over seeds",
    "std": "mean ± std over seeds",
    "ci95": "mean ± 95 % interval",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: its values in the order of time, and a remark."""

    values: tuple[str, ...]
    remark: str = ""


def table(
    heads: Mapping[str, Group],
    metrics: Iterable[str] | None = None,
    plus_minus: str = " ± ",
    spread: str = "range",
) -> list[tuple[str, list[Cell]]]:
    """The rows of the table of one loss, a cell for each head.

    Quantities that no run of the loss has are left out.

    Args:
        heads: The runs of each head.
        metrics: The tags of more metrics than the usual ones.
        plus_minus: What is between a mean and its spread.
        spread: A key of `nc_keras.plot.spread`'s `SPREADS`; after ± stands
            the standard deviation of `"range"` too.
    """
    rows = [("seeds", [_seeds(group) for group in heads.values()])]
    for quantity in quantities(metrics):
        cells = [_cell(g, quantity, plus_minus, spread) for g in heads.values()]
        if any(set(cell.values) != {"–"} for cell in cells):
            rows.append((quantity.label, cells))
    return rows


def quantities(metrics: Iterable[str] | None) -> tuple[Quantity, ...]:
    """The rows of every table, and those of more metrics.

    Args:
        metrics: Their tags.
    """
    return *QUANTITIES, *(
        Quantity(f"{tag}, {data}", prefix + tag, "number", (ZERO, END))
        for tag in metrics or ()
        for data, prefix in (("train", ""), ("test", "val_"))
    )


def shown(record: Mapping[str, Any]) -> dict[str, Shown]:
    """The tables that people read, one for each loss.

    Args:
        record: The content of a comparison's `results.json`.
    """
    return {
        loss: _shown(record, loss, heads)
        for loss, heads in by_loss(record).items()
    }


def _shown(record, loss, heads):
    spread = spread_of(record)
    rows = [
        (plain(label), *(plain(_inline(cell)) for cell in cells))
        for label, cells in table(heads, record.get("metrics"), spread=spread)
    ]
    title = f"{record['title']}, {loss}"
    if any("±" in cell for row in rows for cell in row):
        title += f" ({_HEADINGS[spread]})"
    columns = (f"{_zero(record)} → at the end", *map(plain, heads))
    return Shown(columns, rows, title=plain(title))


def print_summary(
    record: Mapping[str, Any], console: Console | None = None
) -> None:
    """Prints a table for each loss, then notices and findings.

    Args:
        record: The content of a comparison's `results.json`.
        console: Where to print; by default the standard output.
    """
    console = console or consoles.console()
    spread = spread_of(record)
    for loss, heads in by_loss(record).items():
        title = plain(f"{record['title']}, {loss}: ")
        title += f"{_zero(record)} → at the end"
        drawn = Table(
            title=Text(title),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        drawn.add_column(_HEADINGS[spread], no_wrap=True)
        for head in heads:
            drawn.add_column(Text(plain(head)), justify="right", no_wrap=True)
        # What is left for a cell beside the label, the columns 3 apart.
        room = (console.width - _LABEL_WIDTH) // len(heads) - 3
        for label, cells in table(heads, record.get("metrics"), "±", spread):
            stack = any(len(_inline(cell)) > room for cell in cells)
            drawn.add_row(label, *(_plain(cell, stack) for cell in cells))
        console.print(drawn, "")
    for sentence in notices(record) + findings(record):
        console.print(Text(f"• {plain(sentence)}"))


def markdown_summary(record: Mapping[str, Any]) -> str:
    """Returns a GitHub table for each loss, then notices and findings."""
    parts = []
    for one in shown(record).values():
        parts.append(f"#### {one.title}\n\n{one.to_markdown()}")
    sentences = notices(record) + findings(record)
    parts.append("\n".join(f"* {plain(sentence)}" for sentence in sentences))
    return "\n\n".join(filter(None, parts)) + "\n"


def _zero(record):
    return f"at zero training error{vanished(record)}"


def _seeds(group):
    counts = [len(group.reached), len(group.runs)]
    remarks = [
        f"{len(runs)} {what}"
        for what, runs in (
            ("failed", group.failed),
            ("unfinished", group.unfinished),
        )
        if runs
    ]
    values = counts[1:] if counts[0] in (0, counts[1]) else counts
    return Cell(tuple(map(str, values)), ", ".join(remarks))


def _cell(group, quantity, plus_minus, spread):
    found = [group.statistic(quantity.key, m, spread) for m in quantity.moments]
    texts = tuple(format_statistic(s, quantity.kind, plus_minus) for s in found)
    if quantity.key == "terminal_epoch":
        return _terminal_cell(group, texts)
    # Where a value is missing in some runs only, the mean is of the others.
    remarks = [
        f"n={s.n}"
        for s, moment in zip(found, quantity.moments, strict=True)
        if s is not None and s.n < group.expected(moment)
    ]
    return Cell(texts, ", ".join(dict.fromkeys(remarks)))


def _terminal_cell(group, texts):
    reached, runs = len(group.reached), len(group.runs)
    if runs and not reached:
        return Cell(("never",))
    remark = f"{reached} of {runs} reached" if reached < runs else ""
    return Cell(texts, remark)


def _plain(cell, stack):
    if not stack:
        return Text(_inline(cell))
    first, *later = cell.values
    remark = [cell.remark] if cell.remark else []
    return Text("\n".join([first, *(f"→ {text}" for text in later), *remark]))


def _inline(cell):
    text = " → ".join(cell.values)
    return f"{text} ({cell.remark})" if cell.remark else text
