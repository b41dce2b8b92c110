import sys

from rich.console import Console

_WIDE = 160


def console() -> Console:
    """Returns a console: as wide as the terminal, or wide without one.

    Into a file or another program goes all of a table, however narrow the
    terminal is that it was started from.
    """
    return Console(width=None if sys.stdout.isatty() else _WIDE)
