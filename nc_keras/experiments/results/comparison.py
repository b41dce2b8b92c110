"""A comparison as a table for programs, papers and pages."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from nc_keras.experiments.results import plots
from nc_keras.experiments.results import tables
from nc_keras.experiments.results.reading import read_record
from nc_keras.experiments.results.summary import by_loss
from nc_keras.experiments.results.summary import spread_of
from nc_keras.tables import Table
from nc_keras.tables import Tabular
from nc_keras.tables import joined
from nc_keras.writers.files import writable_directory

_COLUMNS = ("loss", "head", "quantity", "when", "mean")
_SPREADS = {"ci95": "half_of_ci95"}
_WHEN = {
    "run": "",
    "first": "first measured",
    "zero": "at zero training error",
    "end": "at the end",
    "gain": "from zero training error to the end",
}


class Comparison(Tabular):
    """What a recipe found, as a table.

    As a frame or CSV it has a row for each loss, head, quantity and moment,
    with the mean, the standard deviation (or half of the 95 % interval, if
    the recipe was asked for it) and the number of seeds as numbers. As LaTeX
    or Markdown it is the tables of the report: one for each loss, a column
    per head.

    Example:

    >>> from nc_keras.experiments.results.comparison import Comparison
    >>> ends = {"epoch": 2, "loss": 0.1, "nc1": 0.5}
    >>> run = {"loss": "ce", "head": "linear", "seed": 0, "last": ends}
    >>> record = {"title": "digits", "runs": [run | {"epochs": 2}]}
    >>> print(Comparison(record).to_csv(), end="")
    loss,head,quantity,when,mean,std,seeds
    ce,linear,epochs,,2.0,,1
    ce,linear,NC1,at the end,0.5,,1

    Args:
        record: The content of a comparison's `results.json`.
    """

    def __init__(self, record: Mapping[str, Any]):
        self.record = record

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Comparison:
        """Reads the comparison of a folder that a recipe wrote.

        Args:
            folder: The folder, with its `results.json`.
        """
        return cls(read_record(pathlib.Path(folder) / "results.json"))

    def table(self) -> Table:
        """Returns every mean as a number: a row for each quantity."""
        spread = spread_of(self.record)
        rows = []
        for loss, heads in by_loss(self.record).items():
            for head, group in heads.items():
                for one in tables.quantities(self.record.get("metrics")):
                    for moment in one.moments:
                        found = group.statistic(one.key, moment, spread)
                        if found is not None:
                            rows.append(
                                _row(loss, head, one.label, moment, found)
                            )
        columns = (*_COLUMNS, _SPREADS.get(spread, "std"), "seeds")
        return Table(columns, rows, self.record["title"], text_columns=4)

    def to_latex(self, path: str | os.PathLike | None = None) -> str | None:
        """Writes one table for each loss.

        Args:
            path: The file, or `None` to return the text.
        """
        return joined(self._shown("to_latex"), path)

    def to_markdown(self, path: str | os.PathLike | None = None) -> str | None:
        """Writes one table for each loss.

        Args:
            path: The file, or `None` to return the text.
        """
        return joined(self._shown("to_markdown"), path)

    def _shown(self, writer):
        return [
            getattr(one, writer)() for one in tables.shown(self.record).values()
        ]


def export(
    record: Mapping[str, Any],
    folder: pathlib.Path,
    formats: Iterable[str] = (),
    kinds: Iterable[str] = (),
) -> list[pathlib.Path]:
    """Writes the figures and tables of a comparison for papers.

    Args:
        record: The content of a comparison's `results.json`.
        folder: The folder of the comparison.
        formats: Of the figures: `"pdf"`, `"svg"`, `"png"`.
        kinds: Of the tables: `"tex"`, `"csv"`, `"md"`.

    Returns:
        What was written: the folder `figures`, and `table.<kind>`.
    """
    written = []
    formats = tuple(formats)
    if formats:
        directory = writable_directory(folder / "figures")
        figures = plots.plot_figures(record)
        for name, figure in figures.items():
            for kind in formats:
                figure.savefig(directory / f"{name}.{kind}", dpi=200)
        written.append(directory)
    comparison = Comparison(record)
    writers = {
        "tex": comparison.to_latex,
        "csv": comparison.to_csv,
        "md": comparison.to_markdown,
    }
    for kind in kinds:
        path = folder / f"table.{kind}"
        writers[kind](path)
        written.append(path)
    return written


def _row(loss, head, label, moment, found):
    label = label.removesuffix(", first measured")
    return (
        *(loss, head, label, _WHEN[moment]),
        *(found.mean, found.spread, found.n),
    )
