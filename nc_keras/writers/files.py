"""Files that a killed process leaves whole."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Iterator


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


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Says of an error which file could not be written, and what to free.

    Raises:
        OSError: If the block raised one, with the reason and what to do.
    """
    try:
        yield
    except OSError as error:
        directory = pathlib.Path(path).parent
        free = "unknown space"
        with contextlib.suppress(OSError):
            free = f"{shutil.disk_usage(directory).free / 1e6:,.1f} MB"
        explained = OSError(
            f"Cannot write {path}: {error.strerror or error}. Free on the file "
            f"system of {str(directory)!r}: {free}. Make space there, or "
            "change its permissions, and run the same command again: what "
            "was written before is whole."
        )
        explained.errno = error.errno
        raise explained from error


def replace_atomically(
    path: str | os.PathLike, write: Callable[[pathlib.Path], object]
) -> None:
    """Writes a file under another name, flushes it, and renames it.

    Args:
        path: The file to replace.
        write: Function that writes the file at the path it is given. That
            path has the suffixes of `path`.

    Raises:
        OSError: If it cannot be written; the file is as it was.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with writing(path):
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_directory(path):
    """Makes a rename outlast a power cut, where directories can be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
