"""Watches many runs: one screen with their state, while they train.

    python -m recipes.watch runs/digits-conv_net
    python -m recipes.watch runs --html watch.html

Any number of folders, in each of which every run is found, however deep: a
comparison, a sweep, or all of `runs`. Nothing is written into them, and it
does not matter who trains there, or whether anyone does. Ctrl-C ends it.
"""

import contextlib
import dataclasses
import pathlib
import queue
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.live import Live

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.console.program import program
from nc_keras.experiments.watching.page import write_page
from nc_keras.experiments.watching.screen import screen
from nc_keras.experiments.watching.states import Watch

_DAY = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    folders: Annotated[
        tuple[pathlib.Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUNS"),
    ] = (pathlib.Path("runs"),)
    """Folders of runs, or of folders of runs."""

    every: float = 2.0
    """Seconds between two looks."""

    once: bool = dataclasses.field(
        default_factory=lambda: not sys.stdout.isatty()
    )
    """Print the table once instead; so it is without a terminal."""

    html: pathlib.Path | None = None
    """Also write a page, which refreshes itself as long as this runs."""

    @property
    def title(self) -> str:
        """String, what is watched."""
        return plain(" ".join(map(str, self.folders)))


def watch(options: Options) -> None:
    """Watches runs as the command line says.

    Args:
        options: `Options`, the command line.

    Raises:
        OSError: If a folder is missing, or the page cannot be written.
        ValueError: If an option is wrong, or there is no run and `once` is
            set.
    """
    _check(options)
    runs = Watch(options.folders)
    screen_of = console()
    if options.html:
        options.html.parent.mkdir(parents=True, exist_ok=True)
    if not options.once:
        _follow(runs, options, screen_of)
    rows = runs.look()
    if options.once and not rows:
        raise ValueError(
            "There is no run, which is a folder with a run.json. Without "
            f"--once the first is waited for. Received: {options.title}."
        )
    if options.html:
        write_page(options.html, rows, options.title, None)
    height = None if options.once else screen_of.height
    screen_of.print(screen(rows, options.title, height))


def _check(options):
    if not 0 < options.every <= _DAY:
        raise ValueError(
            "`every` is a number of seconds, more than 0 and at most a day. "
            f"Received: every={options.every}."
        )
    if options.html and options.html.is_dir():
        raise ValueError(
            "`html` is the page's file, and this is a folder. "
            f"Received: html={options.html}."
        )


def _follow(runs, options, console):
    """Shows the runs until a signal comes."""
    # A handler may put into this queue, and so no look is cut in two.
    stops = queue.SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stops.put(True))
    live = Live(console=console, screen=True, auto_refresh=False)
    with live if console.is_terminal else contextlib.nullcontext():
        while True:
            rows = runs.look()
            if console.is_terminal:
                shown = screen(rows, options.title, console.height)
                live.update(shown, refresh=True)
            if options.html:
                write_page(options.html, rows, options.title, options.every)
            with contextlib.suppress(queue.Empty):
                return stops.get(timeout=options.every)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and exits.

    Args:
        arguments: Sequence of strings, the options; by default those of the
            command line.
    """

    def work():
        options = tyro.cli(
            Options,
            prog=" ".join(program()),
            description=__doc__,
            args=arguments,
        )
        watch(options)

    run_command(work)


if __name__ == "__main__":
    main()
