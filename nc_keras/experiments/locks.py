"""One process at a time trains in a folder."""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

import filelock

_NAME = ".lock"


@contextlib.contextmanager
def hold(folder: pathlib.Path, patience: float = 2.0) -> Iterator[None]:
    """Holds a folder that exists while the block runs.

    The lock is the operating system's: it goes with the process, also when
    that is killed, so that none is left over.

    Args:
        folder: The folder of a run.
        patience: Seconds to wait; looking whether it is held takes a moment.

    Raises:
        OSError: If another process holds it; the message says which.
    """
    lock = filelock.FileLock(folder / _NAME)
    holder = folder / f"{_NAME}-holder"
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout as error:
        is_file = holder.is_file() and not holder.is_symlink()
        who = holder.read_text() if is_file else "unknown"
        raise OSError(
            f"Another process is training in {folder}: {who}. Wait for it, or "
            "stop it, or choose another folder with --output."
        ) from error
    try:
        # A new file: a link of that name must not be followed.
        holder.unlink(missing_ok=True)
        with open(holder, "x") as file:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def is_held(folder: pathlib.Path) -> bool:
    """Whether a process trains in a folder at this moment."""
    path = folder / _NAME
    if path.is_symlink() or (path.exists() and not path.is_file()):
        # Asking would empty the file that a link leads to.
        raise OSError("it is no file")
    if not path.exists():
        return False
    lock = filelock.FileLock(folder / _NAME)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True
