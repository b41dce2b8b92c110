"""What the runs of a recipe came to: table and machine-readable record."""

import dataclasses
import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping
from importlib.metadata import version

import keras
from rich.console import Console
from rich.table import Table

from nc_keras.writers.files import replace_atomically
from nc_keras.writers.json_lines import read_json_lines
from recipes.settings import Settings

# Label of a row, key in the logs, and format.
_ROWS = (
    ("train accuracy, %", "nc_accuracy", "percent"),
    ("test accuracy, %", "val_nc_accuracy", "percent"),
    ("NC1", "nc1", "number"),
    ("NC2 equinorm, means", "nc2_equinorm_means", "number"),
    ("NC2 equinorm, head", "nc2_equinorm_weights", "number"),
    ("NC2 equiangular, means", "nc2_equiangular_means", "number"),
    ("NC2 equiangular, head", "nc2_equiangular_weights", "number"),
    ("NC2 max angle, means", "nc2_max_angle_means", "number"),
    ("NC2 max angle, head", "nc2_max_angle_weights", "number"),
    ("NC3", "nc3", "number"),
    ("NC4, train", "nc4", "number"),
    ("NC4, test", "val_nc4", "number"),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """The rows of one head's `metrics.jsonl` that a table is made of.

    Attributes:
        rows: Every epoch.
        measured: The epochs at which collapse was measured.
        trainable_parameters: Integer.
    """

    rows: list[dict]
    measured: list[dict]
    trainable_parameters: int

    @property
    def at_terminal_epoch(self) -> dict | None:
        """The measurement at which the training error had vanished."""
        return next(
            (row for row in self.measured if row["terminal_phase"]), None
        )

    @property
    def terminal_epoch(self) -> int | None:
        """The epoch of that measurement, or `None`."""
        row = self.at_terminal_epoch
        return row and row["epoch"]


def read_result(folder: pathlib.Path) -> Result | None:
    """Reads the result of one head, or `None` if there is no epoch yet."""
    rows = read_json_lines(folder / "metrics.jsonl")
    measured = [row for row in rows if "nc1" in row]
    if not measured:
        return None
    model = keras.models.load_model(folder / "model.keras", compile=False)
    parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    return Result(rows, measured, parameters)


def print_table(settings: Settings, results: Mapping[str, Result]) -> None:
    """Prints one column a head."""
    table = Table(
        title=f"{settings.title}: at zero training error → at the end",
        title_justify="left",
    )
    table.add_column("")
    for head in results:
        table.add_column(f"{head} head", justify="right", no_wrap=True)
    table.add_row(
        "trainable parameters",
        *(f"{result.trainable_parameters:,}" for result in results.values()),
    )
    table.add_row(
        f"epoch of zero error (≥ {settings.threshold:.1%})",
        *(str(result.terminal_epoch or "never") for result in results.values()),
    )
    table.add_row(
        "NC1 at the first measurement",
        *(_format(r.measured[0]["nc1"], "number") for r in results.values()),
    )
    for label, key, kind in _ROWS:
        table.add_row(
            label, *(_cell(result, key, kind) for result in results.values())
        )
    table.add_row(
        "epochs",
        *(str(result.rows[-1]["epoch"]) for result in results.values()),
    )
    table.add_row(
        "seconds",
        *(f"{result.rows[-1]['seconds']:.1f}" for result in results.values()),
    )
    Console().print(table)


def write_results(
    settings: Settings, results: Mapping[str, Result], interrupted: bool
) -> pathlib.Path:
    """Writes settings, machine and results to `results.json`."""
    record = {
        "settings": dataclasses.asdict(settings),
        "interrupted": interrupted,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "backend": keras.backend.backend(),
            "keras": version("keras"),
        },
        "heads": {
            head: {
                "trainable_parameters": result.trainable_parameters,
                "terminal_epoch": result.terminal_epoch,
                "first": result.measured[0],
                "at_terminal_epoch": result.at_terminal_epoch,
                "last": result.measured[-1],
                "epochs": result.rows[-1]["epoch"],
                "seconds": result.rows[-1]["seconds"],
            }
            for head, result in results.items()
        },
    }
    path = settings.folder / "results.json"
    text = json.dumps(record, indent=1, default=str)
    replace_atomically(path, lambda path: path.write_text(text))
    return path


def _cell(result, key, kind):
    rows = (result.at_terminal_epoch, result.measured[-1])
    values = [row and row.get(key) for row in rows]
    return " → ".join(_format(value, kind) for value in values)


def _format(value, kind):
    if value is None:
        return "–"
    return f"{100 * value:.2f}" if kind == "percent" else f"{value:.2g}"


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()
