import sys
from collections.abc import Callable


def run_command(work: Callable[[], int | None]) -> None:
    """Runs what a command does, and exits unless all is well.

    The exit status is 0, or what `work` returns, or 130 after Ctrl-C, or 1
    after an error that people can put right, which is told in one line.

    Args:
        work: Function that returns a status, or `None` if all is well.
    """
    try:
        status = work()
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on where it was.")
        status = 130
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if status:
        sys.exit(status)
