"""Files that a killed process leaves whole."""

import os
import pathlib
from collections.abc import Callable


def writable_directory(path: str | os.PathLike) -> pathlib.Path:
    """Creates a directory, and makes sure that files can be written there.

    Raises:
        OSError: If they cannot, with the reason and what to do.
    """
    path = pathlib.Path(path)
    probe = path / f".writable-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"Cannot write to the directory {str(path)!r}: {error.strerror}. "
            "Choose another directory, or free space or change its "
            "permissions."
        ) from error
    return path


def replace_atomically(
    path: str | os.PathLike, write: Callable[[pathlib.Path], None]
) -> None:
    """Writes a file under another name, flushes it, and renames it.

    Args:
        path: The file to replace.
        write: Function that writes the file at the path it is given. That
            path has the suffixes of `path`.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
