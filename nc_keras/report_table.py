"""A report as a table: printed, and for programs and papers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from nc_keras.detection import MEASURES
from nc_keras.measuring.registry import GROUPS
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.verdict import Verdict
from nc_keras.measuring.verdict import verdict
from nc_keras.tables import Table
from nc_keras.tables import Tabular

WIDTH = 80
_NUMBER = 11  # columns of a number
_CLASS_COLUMNS = 5


class Report(Tabular, dict):
    """Values by data set, which print as a table.

    The same table is a pandas frame (`to_frame`) or a text or file in CSV,
    LaTeX or Markdown (`to_csv`, `to_latex`, `to_markdown`); `class_table` has
    what has one value per class.

    Args:
        values: Dictionary from `"train"`, `"test"` and `"ood"` to
            dictionaries from tags to values.
        heading: List of strings, the lines above the table.
        notes: List of strings, the lines below the table.
        per_class: Boolean, whether to print what has one value per class.
        classes: Dictionary from data sets to arrays with the classes that
            have examples, to which such values belong.
        ood_scores: Dictionary from names of scores to those of known and of
            out-of-distribution examples, which `nc_keras.plot.roc` draws.

    Example:

    >>> from nc_keras.report import Report
    >>> print(Report({"train": {"nc1": 0.0123456, "nc4": 0.0}}))
                                   train  goes to
    NC1  features become their class means
      nc1                        0.01235  0: within / between, C-1 axes
    NC4  the head decides as the nearest class mean does
      nc4                              0  0: share that disagrees
    """

    def __init__(
        self,
        values: dict[str, dict[str, Any]],
        heading: Iterable[str] = (),
        notes: Iterable[str] = (),
        per_class: bool = False,
        classes: dict[str, np.ndarray] | None = None,
        ood_scores: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        super().__init__(values)
        self.classes = classes or {}
        self.ood_scores = ood_scores or {}
        self.heading = list(heading)
        self.notes = list(notes)
        self.per_class = per_class

    def __str__(self) -> str:
        lines = [*self.heading, ""] if self.heading else []
        lines += self._table() + self._detection()
        if self.per_class:
            for name, values in self.items():
                lines += _class_table(name, values, self.classes.get(name))
        notes = self.notes + self._hints()
        if self.heading and "accuracy" in self["train"]:
            sentence = self.verdict().sentence
            notes = textwrap.wrap(sentence, WIDTH) + notes
        lines += [""] * bool(notes) + notes
        return "\n".join(line[:WIDTH].rstrip() for line in lines)

    def table(self) -> Table:
        """Returns the values, a row for each metric, a column a data set.

        Example:

        >>> from nc_keras.report import Report
        >>> report = Report({"train": {"nc1": 0.01}, "test": {"nc1": 0.5}})
        >>> print(report.to_csv(), end="")
        metric,goes to,train,test
        nc1,0,0.01,0.5
        """
        return Table(
            ("metric", "goes to", *self._columns()),
            [(tag, _goal(tag), *row) for tag, row in self._rows().items()],
            title=" ".join(self.heading[:1]),
            text_columns=2,
        )

    def class_table(self, name: str = "train") -> Table:
        """Returns what has one value per class, a row for each class.

        Args:
            name: String, the data set.
        """
        arrays = {t: v for t, v in self[name].items() if np.ndim(v) == 1}
        if not arrays:
            raise ValueError(
                "No metric of one value per class was measured. Make the "
                "report with `per_class=True`. "
                f"Received: name={name!r} with {', '.join(self[name])}."
            )
        count = len(next(iter(arrays.values())))
        classes = self.classes.get(name, np.arange(count))
        columns = [tag.removeprefix("per_class_") for tag in arrays]
        return Table(
            ("class", *columns),
            [
                (str(label), *map(float, row))
                for label, *row in zip(classes, *arrays.values(), strict=True)
            ],
            title=f"{name}, class by class",
        )

    def verdict(self, **options: Any) -> Verdict:
        """Says which of NC1 to NC4 the training set shows.

        Args:
            **options: As in `nc_keras.verdict`.
        """
        return verdict(self, **options)

    def _columns(self):
        return [name for name in ("train", "test") if name in self]

    def _rows(self):
        """Values by tag, one for each column; those of `ood` in the last."""
        rows = {}
        columns = [self[name] for name in self._columns()]
        for values in columns:
            for tag, value in values.items():
                if not np.ndim(value):
                    rows.setdefault(tag, [v.get(tag) for v in columns])
        for tag, value in self.get("ood", {}).items():
            if tag not in rows:
                rows[tag] = [None] * (len(columns) - 1) + [value]
        return rows

    def _table(self):
        rows, columns = self._rows(), self._columns()
        width = min(max(map(len, [*rows, " " * 23])), 40)
        head = "".join(name.rjust(_NUMBER) for name in columns)
        lines = [" " * (width + 2) + head + "  goes to"]
        groups = {group: [] for group in GROUPS}
        for tag in rows:
            if not _is_detection(tag):
                groups[_group(tag)].append(tag)
        for group, tags in groups.items():
            lines += [GROUPS[group][0]] * bool(tags)
            for tag in tags:
                numbers = "".join(map(_number, rows[tag]))
                name = tag if len(tag) <= width else tag[: width - 3] + "..."
                lines.append(f"  {name:{width}}{numbers}  {_note(tag)}")
        return lines

    def _detection(self):
        """Lines with a row for each score, a column for each measure."""
        found = {
            t: v for t, v in self.get("ood", {}).items() if _is_detection(t)
        }
        names = dict.fromkeys(t.removesuffix(f"_{_end(t)}") for t in found)
        if not names:
            return []
        head = "".join(end.upper().rjust(_NUMBER) for end in MEASURES)
        lines = ["", "Told from out of distribution by".ljust(32) + head]
        for name in names:
            row = (found.get(f"{name}_{end}") for end in MEASURES)
            lines.append(f"  {name:30}" + "".join(map(_number, row)))
        return lines

    def _hints(self):
        hidden, invalid = {}, False
        for values in self.values():
            for tag, value in values.items():
                if np.ndim(value):
                    hidden[tag] = True
                elif not np.isfinite(value):
                    invalid = True
        lines = []
        if invalid:
            lines.append("nan, inf: the formula is 0 / 0 or 1 / 0 here.")
        if hidden and not self.per_class:
            text = f"Not shown (per_class=True): {', '.join(hidden)}."
            lines += textwrap.wrap(text, WIDTH)
        return lines


def _end(tag):
    """Which measure of detection a tag ends with, or `None`."""
    end = tag.rpartition("_")[2]
    return end if end in MEASURES else None


def _is_detection(tag):
    return tag not in METRICS and _end(tag) is not None


def _group(tag):
    return METRICS[tag].group if tag in METRICS else "Others"


def _note(tag):
    metric = METRICS.get(tag)
    if metric is None:
        return ""
    return ": ".join(part for part in (metric.goal, metric.note) if part)


def _goal(tag):
    if _is_detection(tag):
        return MEASURES[_end(tag)][1][:1]
    return METRICS[tag].goal if tag in METRICS else ""


def _number(value):
    if value is None:
        return "-".rjust(_NUMBER)
    return f"{value:.4g}".rjust(_NUMBER)


def _class_table(name, values, classes):
    """Lines with one row per class, for the arrays of a data set."""
    arrays = {tag: v for tag, v in values.items() if np.ndim(v) == 1}
    lines, tags = [], list(arrays)
    for start in range(0, len(tags), _CLASS_COLUMNS):
        part = tags[start : start + _CLASS_COLUMNS]
        titles = [tag.removeprefix("per_class_") for tag in part]
        head = "".join(title[-13:].rjust(14) for title in titles)
        lines += ["", f"{name:8}"[:8] + head]
        for row in range(len(arrays[part[0]])):
            label = row if classes is None else classes[row]
            cells = "".join(f"{arrays[tag][row]:14.4g}" for tag in part)
            lines.append(str(label)[:8].rjust(8) + cells)
    return lines
