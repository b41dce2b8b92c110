"""Reads the `results.json` of a comparison, and says what is wrong with it."""

import json
import math
import numbers
import pathlib
from collections.abc import Mapping
from typing import Any

from nc_keras.experiments.console.plain import plain
from nc_keras.plot.spread import SPREADS

_TEXTS = ("title", "command")
_OBJECTS = ("settings", "scale", "machine", "data")
_ROWS = ("first", "at_terminal_epoch", "last")
_COUNTS = ("epochs", "terminal_epoch")
_MOST = 1e300


def read_record(path: pathlib.Path) -> dict[str, Any]:
    """Reads the record of a comparison.

    Args:
        path: A `results.json`.

    Returns:
        What it holds, as `record.build_record` made it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not what a recipe writes; the message names the
            place.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        _check(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{plain(path)} is not what a recipe writes: {plain(error)}. Run "
            "the recipe again, which makes it from the runs' folders."
        ) from error
    return record


def _check(record):
    _require(isinstance(record, dict), "it", "an object", record)
    for name in _TEXTS:
        text = record.get(name, "")
        _require(isinstance(text, str), name, "text", text)
    _require("title" in record, "title", "there", None)
    for name in _OBJECTS:
        value = record.get(name)
        _require(isinstance(value, dict | None), name, "an object", value)
    spread = record.get("spread") or "range"
    known = list(SPREADS)
    _require(spread in known, "spread", f"of {', '.join(known)}", spread)
    _check_facts(record)
    runs = record.get("runs")
    _require(isinstance(runs, list) and runs, "runs", "a list of runs", runs)
    for index, run in enumerate(runs):
        _check_run(f"runs[{index}]", run)


def _check_facts(record):
    """What sentences are made of."""
    scale = record.get("scale") or {}
    data = record.get("data") or {}
    threshold = (record.get("settings") or {}).get("threshold")
    if scale:
        for name in ("epochs", "protocol_epochs"):
            _number(f"scale.{name}", scale.get(name), needed=True)
    if data:
        for name in ("train", "test", "classes"):
            _number(f"data.{name}", data.get(name), needed=True)
        is_unequal = data.get("imbalance") is not None
        for name in ("per_class", "test_images", "oversample"):
            _number(f"data.{name}", data.get(name))
        _number("data.ratio", data.get("ratio"), needed=is_unequal)
    note = data.get("note", "")
    _require(isinstance(note, str), "data.note", "text", note)
    _number("settings.threshold", threshold)
    for name in ("deviations", "metrics", "published"):
        value = record.get(name) or []
        _require(isinstance(value, list), name, "a list", value)
    for name in ("deviations", "metrics"):
        for text in record.get(name) or []:
            _require(isinstance(text, str), name, "text", text)
    for fact in record.get("published") or []:
        is_fact = isinstance(fact, dict) and fact.keys() >= {
            *("what", "value", "source")
        }
        _require(is_fact, "published", "what, value and source", fact)
    for name in ("drops", "widths"):
        shares = (record.get("settings") or {}).get(name) or []
        _require(isinstance(shares, list), f"settings.{name}", "a list", shares)
        for share in shares:
            _number(f"settings.{name}", share, needed=True)


def _check_run(place, run):
    _require(isinstance(run, dict), place, "an object", run)
    for name in ("loss", "head"):
        value = run.get(name)
        _require(isinstance(value, str), f"{place}.{name}", "text", value)
    seed = run.get("seed")
    is_seed = isinstance(seed, int) and not isinstance(seed, bool)
    _require(is_seed, f"{place}.seed", "an integer", seed)
    folder = run.get("folder")
    is_text = isinstance(folder, str | None)
    _require(is_text, f"{place}.folder", "text", folder)
    for name, value in run.items():
        if name in _ROWS:
            if value is not None:
                _check_row(f"{place}.{name}", value)
        elif name in ("measured", "robustness"):
            _require(
                isinstance(value, list), f"{place}.{name}", "a list", value
            )
            for index, row in enumerate(value):
                _check_row(f"{place}.{name}[{index}]", row)
        elif name in _COUNTS:
            _number(f"{place}.{name}", value, needed=name == "epochs")
        elif name not in ("loss", "head", "folder", "failure", "finished"):
            _number(f"{place}.{name}", value)
    _number(f"{place}.epochs", run.get("epochs"), needed=True)
    terminal = run.get("at_terminal_epoch")
    if terminal:
        _number(f"{place}.terminal_epoch", run.get("terminal_epoch"), True)


def _check_row(place, row):
    _require(isinstance(row, Mapping), place, "an object", row)
    epoch = row.get("epoch")
    is_epoch = isinstance(epoch, int) and 1 <= epoch < _MOST
    _require(is_epoch, f"{place}.epoch", "a positive integer", epoch)
    for name, value in row.items():
        _number(f"{place}.{name}", value)


def _number(place, value, needed=False):
    """A number, or null where it may be missing or was not finite."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, int)
    is_number |= isinstance(value, int) and abs(value) < _MOST
    if is_number and math.isfinite(value) and abs(value) >= _MOST:
        is_number = False
    is_number |= value is None and not needed
    _require(is_number, place, "a number", value)


def _require(holds, place, what, received):
    if not holds:
        text = repr(received)
        text = text if len(text) < 60 else f"{text[:60]}…"
        raise ValueError(f"{place} must be {what}. Received: {text}")
