"""Files that a killed process leaves whole."""

import contextlib
import errno
import os
import pathlib
import shutil
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from typing import TypeVar

_Result = TypeVar("_Result")
# What shared storage answers while a server or the network is away.
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "ENOLINK"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ENOTCONN"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
    )
    if hasattr(errno, name)
}
_WAITS = (1, 2, 4, 8, 15, 30)  # seconds


def writable_directory(path: str | os.PathLike) -> pathlib.Path:
    """Creates a directory, and makes sure that files can be written there.

    Raises:
        OSError: If they cannot, with the reason and what to do.
    """
    path = pathlib.Path(path)
    probe = path / f".writable-{os.getpid()}"

    def try_it():
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)

    try:
        retried(try_it)
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
        explained = OSError(
            f"Cannot write {path}: {error.strerror or error}. "
            f"{_advice(path, error)}, and run the same command again: what was "
            "written before is whole."
        )
        explained.errno = error.errno
        raise explained from error


def _advice(path, error):
    if is_passing(error):
        return "The storage did not answer. Wait until it does"
    if error.errno == errno.ENOENT:
        return "Something deleted or moved what it is in. Leave it there"
    directory = pathlib.Path(path).parent
    free = "unknown space"
    with contextlib.suppress(OSError):
        free = f"{shutil.disk_usage(directory).free / 1e6:,.1f} MB"
    return (
        f"Free on the file system of {str(directory)!r}: {free}. Make space "
        "there, or change its permissions"
    )


def is_passing(error: BaseException) -> bool:
    """Whether an error says that storage is away, and not what is wrong."""
    return isinstance(error, OSError) and error.errno in _PASSING


def retried(work: Callable[[], _Result]) -> _Result:
    """Does what reads or writes, again for a minute if storage is away.

    Args:
        work: Function that can be called again after it failed.

    Returns:
        What `work` returns.

    Raises:
        OSError: If storage stays away, or something else is wrong.
    """
    for wait in _WAITS:
        try:
            return work()
        except OSError as error:
            if not is_passing(error):
                raise
            if wait == _WAITS[0]:
                warnings.warn(
                    f"The storage fails: {error}. It is tried for "
                    f"{sum(_WAITS)} s.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        time.sleep(wait)
    return work()


def append(path: str | os.PathLike, data: bytes) -> None:
    """Adds bytes to the end of a file, all of them or none.

    Args:
        path: The file; it is made if it does not exist.
        data: The bytes.

    Raises:
        OSError: If they cannot be written, with the reason and what to do.
    """
    begin = None

    def write():
        nonlocal begin
        with open(path, "ab") as file:
            if begin is None:
                begin = file.seek(0, os.SEEK_END)
            else:  # A part may be there.
                file.truncate(begin)
            file.write(data)

    try:
        with writing(path):
            retried(write)
    except BaseException:
        if begin is not None:
            with contextlib.suppress(OSError):
                os.truncate(path, begin)
        raise


def sync(path: str | os.PathLike) -> None:
    """Waits until all of a file is on the disk.

    Raises:
        OSError: If it cannot be, with the reason and what to do.
    """
    # What failed to reach the disk is forgotten by the system, so that a
    # second try would succeed without it.
    with writing(path), retried(lambda: open(path, "ab")) as file:
        os.fsync(file.fileno())


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

    def replace():
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)

    try:
        with writing(path):
            retried(replace)
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
