"""One model of a table, and its writers: CSV, LaTeX, Markdown, pandas."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from nc_keras.writers.files import replace_atomically

# What LaTeX takes for a command, and what its letters lack.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{sign: "\\" + sign for sign in "$&#_%"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\ne$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of texts and numbers, under columns that have names.

    Args:
        columns: Strings, the names of the columns.
        rows: Rows of strings, numbers, or `None` where there is no value.
        title: String, what the table shows: the caption in LaTeX.
        digits: Integer, the digits that a number has where people read it; in
            CSV and frames it has all.
        text_columns: Integer, how many columns from the left are text, and
            so begin at the left.

    Example:

    >>> from nc_keras.tables import Table
    >>> table = Table(("metric", "train"), [("nc1", 0.0123456)])
    >>> print(table.to_markdown())
    | metric | train |
    | --- | ---: |
    | nc1 | 0.01235 |
    >>> print(table.to_csv(), end="")
    metric,train
    nc1,0.0123456
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    digits: int = 4
    text_columns: int = 1

    def to_frame(self) -> Any:
        """Returns a `pandas.DataFrame`, with all digits.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ImportError(
                "`to_frame` returns a pandas.DataFrame, and pandas is not "
                "installed. Run `pip install pandas`, or use `to_csv`."
            ) from error
        rows = [list(row) for row in self.rows]
        return pandas.DataFrame(rows, columns=list(self.columns))

    def to_csv(self, path: str | os.PathLike | None = None) -> str | None:
        """Writes a table for programs, with all digits.

        Args:
            path: The file, or `None` to return the text.
        """
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(["" if cell is None else cell for cell in row])
        return _given(lines.getvalue(), path)

    def to_markdown(self, path: str | os.PathLike | None = None) -> str | None:
        """Writes a table as GitHub shows it.

        Args:
            path: The file, or `None` to return the text.
        """
        lefts = self.text_columns
        rule = ["---"] * lefts + ["---:"] * (len(self.columns) - lefts)
        lines = [self.columns, rule, *self.texts()]
        text = "\n".join(
            f"| {' | '.join(_for_markdown(cell) for cell in line)} |"
            for line in lines
        )
        return _given(text, path, "\n")

    def to_latex(self, path: str | os.PathLike | None = None) -> str | None:
        r"""Writes a table for a paper; it needs `\usepackage{booktabs}`.

        Args:
            path: The file, or `None` to return the text.
        """
        lefts = self.text_columns
        places = "l" * lefts + "r" * (len(self.columns) - lefts)
        lines = [_latex_row(self.columns), r"\midrule"]
        lines += [_latex_row(row) for row in self.texts()]
        body = [
            rf"\begin{{tabular}}{{{places}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
        if self.title:
            caption = rf"\caption{{{_for_latex(self.title)}}}"
            body = [r"\begin{table}", r"\centering", caption, *body]
            body.append(r"\end{table}")
        return _given("\n".join(body), path, "\n")

    def texts(self) -> Iterator[list[str]]:
        """The rows as people read them."""
        for row in self.rows:
            yield [number(cell, self.digits) for cell in row]


class Tabular:
    """What is a table, and can be written as one."""

    def table(self) -> Table:
        """Returns the `Table`."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """As `nc_keras.tables.Table.to_frame`."""
        return self.table().to_frame()

    def to_csv(self, path: str | os.PathLike | None = None) -> str | None:
        """As `nc_keras.tables.Table.to_csv`.

        Args:
            path: The file, or `None` to return the text.
        """
        return self.table().to_csv(path)

    def to_latex(self, path: str | os.PathLike | None = None) -> str | None:
        """As `nc_keras.tables.Table.to_latex`.

        Args:
            path: The file, or `None` to return the text.
        """
        return self.table().to_latex(path)

    def to_markdown(self, path: str | os.PathLike | None = None) -> str | None:
        """As `nc_keras.tables.Table.to_markdown`.

        Args:
            path: The file, or `None` to return the text.
        """
        return self.table().to_markdown(path)


def number(cell: Any, digits: int = 4) -> str:
    """A cell as people read it: a dash where there is nothing.

    Args:
        cell: String, number or `None`.
        digits: Integer.

    Example:

    >>> from nc_keras.tables import number
    >>> number(0.0000123456), number(12), number(None)
    ('1.235e-05', '12', '–')
    """
    if cell is None:
        return "–"
    if isinstance(cell, str) or isinstance(cell, int):
        return str(cell)
    if not math.isfinite(cell):
        return str(float(cell))
    return f"{cell:.{digits}g}"


def joined(
    texts: Sequence[str], path: str | os.PathLike | None = None
) -> str | None:
    """Several tables as one text.

    Args:
        texts: What a writer made of each.
        path: The file, or `None` to return the text.
    """
    return _given("\n\n".join(texts), path, "\n")


def _for_markdown(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def _latex_row(cells):
    return " & ".join(map(_for_latex, cells)) + r" \\"


def _for_latex(text):
    mantissa, e, exponent = text.partition("e")
    if e and _is_number(mantissa) and _is_number(exponent):
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    if text.startswith("-") and _is_number(text):
        return f"${text}$"
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _given(text, path, end=""):
    """The text, or `None` where it went into a file."""
    if path is None:
        return text
    path = pathlib.Path(path)
    replace_atomically(path, lambda path: path.write_text(text + end, "utf-8"))
    return None
