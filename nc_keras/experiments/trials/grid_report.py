"""What came of a grid: a table of all, and a report of each comparison."""

import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results import summary
from nc_keras.experiments.results.comparison import export
from nc_keras.experiments.results.page import write_report
from nc_keras.experiments.results.plots import plot_comparison
from nc_keras.experiments.results.record import build_record
from nc_keras.experiments.results.record import read_run
from nc_keras.experiments.results.record import read_runs
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.results.summary import problem


def report(
    folder: pathlib.Path, pairs: Mapping[str, Settings], interrupted: bool
) -> list[pathlib.Path]:
    """Prints a table of all, and writes record, plot and page of each pair.

    Args:
        folder: The folder of the grid.
        pairs: The settings of each data set and network.
        interrupted: Whether runs are missing.

    Returns:
        The pages.
    """
    records, pages = {}, []
    for pair, settings in pairs.items():
        runs = read_runs(settings)
        if not any(run["measured"] for run in runs):
            continue
        records[pair] = build_record(
            settings, prepare(settings), runs, interrupted
        )
        write_json(settings.folder / "results.json", records[pair])
        plot_comparison(settings.folder / "curves.png", records[pair])
        pages.append(settings.folder / "report.html")
        write_report(pages[-1], records[pair])
        export(
            records[pair], settings.folder, settings.formats, settings.tables
        )
    if not records:
        print("There is no result: no run came to a measured epoch.")
        return []
    console().print(table(records), "")
    for page in pages:
        print(f"report  {page}")
    print(f"panels  tensorboard --logdir {folder}")
    return pages


def table(records: Mapping[str, Mapping[str, Any]]) -> Any:
    """Returns the table of a grid, a row for each pair, loss and head.

    Args:
        records: For each pair, the content of its `results.json`.
    """
    drawn = Table(
        title="At the last epoch, mean ± std over seeds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for heading in ("trained", "loss", "head"):
        drawn.add_column(heading, no_wrap=True)
    for heading in (
        "seeds",
        "test acc. %",
        "train acc. %",
        "NC1",
        "zero error",
    ):
        drawn.add_column(heading, justify="right")
    for pair, record in records.items():
        for (loss, head), group in summary.groups(record).items():
            cells = [
                summary.format_statistic(group.statistic(key, moment), kind)
                for key, moment, kind in (
                    ("val_nc_accuracy", summary.END, "percent"),
                    ("nc_accuracy", summary.END, "percent"),
                    ("nc1", summary.END, "number"),
                    ("terminal_epoch", summary.RUN, "epoch"),
                )
            ]
            if group.runs and not group.reached:
                cells[-1] = "never"
            drawn.add_row(pair, loss, head, str(len(group.runs)), *cells)
    return drawn


def tell(trials: Sequence[Any], errors: Mapping[pathlib.Path, str]) -> None:
    """Prints which trials came to no good end, and why."""
    for trial in trials:
        run = read_run(trial.folder)
        reason = errors.get(trial.folder) or (run and problem(run))
        if reason:
            print(f"{trial.name}: {reason}")
