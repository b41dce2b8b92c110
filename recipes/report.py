"""Makes report and overview of a comparison again from its record.

    python -m recipes.report runs/digits-conv_net

Reads the folder's `results.json`, and prints the tables as Markdown.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated
from typing import Literal

import tyro

from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.console.program import program
from nc_keras.experiments.console.quiet import import_keras
from nc_keras.experiments.results.reading import read_record


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    folder: Annotated[
        pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")
    ]
    """A folder that a recipe wrote, with its results.json."""

    formats: tuple[Literal["pdf", "svg", "png"], ...] = ()
    """Formats in which each figure is also written, into figures/."""

    tables: tuple[Literal["tex", "csv", "md"], ...] = ()
    """Formats in which the numbers are also written, as table.tex and so on."""

    spread: Literal["range", "std", "ci95"] | None = None
    """What is drawn around means over seeds. Defaults to that of the recipe's
    command."""


def report(options: Options) -> None:
    """Makes page and overview again, and prints the tables.

    Args:
        options: The command line.

    Raises:
        OSError: If something cannot be read or written.
        ValueError: If there is no record, or it is not what a recipe writes.
    """
    path = options.folder / "results.json"
    if not path.is_file():
        raise ValueError(
            "Name a folder that a recipe wrote, with its results.json. "
            f"Received: {plain(options.folder)}."
        )
    record = read_record(path)
    if options.spread is not None:
        record["spread"] = options.spread
    import_keras()
    # Matplotlib, which they import, takes a second.
    from nc_keras.experiments.results import plots
    from nc_keras.experiments.results import tables
    from nc_keras.experiments.results.comparison import export
    from nc_keras.experiments.results.page import write_report

    write_report(options.folder / "report.html", record)
    plots.plot_comparison(options.folder / "curves.png", record)
    print(tables.markdown_summary(record))
    for written in export(
        record, options.folder, options.formats, options.tables
    ):
        print(f"also     {written}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: The options; by default those of the command line.
    """
    run_command(
        lambda: report(
            tyro.cli(
                Options,
                prog=" ".join(program()),
                description=__doc__,
                args=arguments,
            )
        )
    )


if __name__ == "__main__":
    main()
