"""What curves are drawn from: histories, run folders, comparisons."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_keras.writers.json_lines import read_json_lines

_TAKEN = (
    "a Keras History or its dictionary, a folder with metrics.jsonl or "
    "results.json, the path of such a file, a list of these, or a dictionary "
    "from names to these"
)


@dataclasses.dataclass(frozen=True)
class Run:
    """The values of one training.

    Attributes:
        series: For each key of `logs`, the finite values by epoch, counted
            from 1.
        terminal_epoch: The epoch at which the training error had vanished,
            or `None`.
    """

    series: Mapping[str, Mapping[int, float]]
    terminal_epoch: int | None = None


def runs_by_name(source: Any) -> dict[str, list[Run]]:
    """Reads the runs of each curve; several are seeds, and are averaged.

    Args:
        source: See `nc_keras.plot.curves`.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If the source is none of those, or has no values.
    """
    found: dict[str, list[Run]] = {}
    if isinstance(source, Mapping) and not _is_history(source):
        for name, one in source.items():
            found |= _named(str(name), one)
    elif _is_several(source):
        for one in source:
            for name, runs in _read(one).items():
                found[_free(name, found)] = runs
    else:
        found = _read(source)
    if not any(run.series for runs in found.values() for run in runs):
        raise ValueError(
            f"There are no values to draw. Pass {_TAKEN}, of a training that "
            f"came to an epoch. Received: {source!r}."
        )
    return found


def _named(name, source):
    """The curves of one name; those of a comparison keep their own too."""
    if _is_several(source):
        seeds = [run for one in source for run in _only(one)]
        return {name: seeds}
    found = _read(source)
    if len(found) == 1:
        return {name: next(iter(found.values()))}
    return {f"{name}: {own}": runs for own, runs in found.items()}


def _only(source):
    found = _read(source)
    if len(found) != 1:
        raise ValueError(
            "Runs that are averaged must be single runs. Received: a "
            f"comparison of {', '.join(found)}."
        )
    return next(iter(found.values()))


def _read(source):
    history = getattr(source, "history", source)
    if isinstance(history, Mapping):
        if not _is_history(history):
            raise ValueError(
                f"A history has a list of values for each key. Pass {_TAKEN}. "
                f"Received: {source!r}."
            )
        return {"training": [_of_history(history, source)]}
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"Pass {_TAKEN}. Received: source of type {type(source).__name__}."
        )
    path = pathlib.Path(source)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix == ".json" and path.is_file():
        return _of_record(path)
    if path.is_file():
        return {_name_of(path.parent): [_of_rows(read_json_lines(path))]}
    raise ValueError(f"There is no such file or folder. Received: {path}.")


def _of_folder(path):
    if (path / "results.json").exists():
        return _of_record(path / "results.json")
    if (path / "metrics.jsonl").exists():
        rows = read_json_lines(path / "metrics.jsonl")
        return {_name_of(path): [_of_rows(rows)]}
    inside = sorted(file.parent for file in path.glob("*/metrics.jsonl"))
    if not inside:
        raise ValueError(
            "A folder must have metrics.jsonl, as `NCTensorBoard` writes it, "
            "or results.json, as recipes do, or folders of runs. "
            f"Received: {path}."
        )
    return {
        one.name: [_of_rows(read_json_lines(one / "metrics.jsonl"))]
        for one in inside
    }


def _of_record(path):
    """The groups of a comparison, a head each, or a loss and a head."""
    runs = json.loads(path.read_text("utf-8")).get("runs") or []
    several = len({run["loss"] for run in runs}) > 1
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.get("failure"):
            continue
        name = f"{run['loss']}, {run['head']}" if several else run["head"]
        rows = [*(run.get("measured") or ()), *(run.get("robustness") or ())]
        made = _of_rows(rows)
        terminal = run.get("terminal_epoch") or made.terminal_epoch
        found.setdefault(name, []).append(
            dataclasses.replace(made, terminal_epoch=terminal)
        )
    return found


def _of_history(history, source):
    epochs = getattr(source, "epoch", None) or range(
        max(map(len, history.values()), default=0)
    )
    first = [epoch + 1 for epoch in epochs]
    rows = [
        {"epoch": epoch}
        | {key: v[i] for key, v in history.items() if i < len(v)}
        for i, epoch in enumerate(first)
    ]
    return _of_rows(rows)


def _of_rows(rows):
    series: dict[str, dict[int, float]] = {}
    terminal = None
    for row in rows:
        epoch = row.get("epoch")
        if epoch is None:
            continue
        if terminal is None and row.get("terminal_phase") == 1:
            terminal = epoch
        for key, value in row.items():
            if key == "epoch" or isinstance(value, str) or value is None:
                continue
            # Of arrays, as of one value per class, there is no curve.
            if np.ndim(value) == 0 and math.isfinite(value):
                series.setdefault(key, {})[epoch] = float(value)
    return Run(series, terminal)


def _is_history(source):
    return bool(source) and all(
        isinstance(key, str)
        and isinstance(values, Sequence | np.ndarray)
        and not isinstance(values, str)
        and all(map(_is_value, values))
        for key, values in source.items()
    )


def _is_value(value):
    """Whether it is what `logs` hold: a number of any backend, or an array."""
    is_array = isinstance(value, np.ndarray)
    return value is None or is_array or hasattr(value, "__float__")


def _is_several(source):
    return isinstance(source, Sequence) and not isinstance(source, str)


def _name_of(path):
    return path.resolve().name


def _free(name, taken):
    number = 2
    free = name
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free
