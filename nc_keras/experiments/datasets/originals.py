"""The original files of the datasets: which, and whether they are."""

import gzip
import hashlib
import posixpath
import zlib
from collections.abc import Sequence
from pathlib import Path

from nc_keras.experiments.datasets.sources import SOURCES
from nc_keras.experiments.datasets.sources import Archive


def archives(name: str) -> tuple[Archive, ...]:
    """Returns the original files of a dataset.

    Sizes and checksums are those that tensorflow-datasets has.

    Args:
        name: The dataset's name in `SOURCES`.
    """
    import tensorflow_datasets as tfds

    content = SOURCES[name].content
    found = []
    for url, info in tfds.builder_cls(name).url_infos.items():
        filename = info.filename or posixpath.basename(url)
        digest = content.get(filename)
        archive = Archive(filename, int(info.size), info.checksum, digest)
        found.append(archive)
    return tuple(found)


def archive_list(archives: Sequence[Archive]) -> str:
    """Returns archives with their sizes, one per line."""
    return "\n".join(
        f"  {archive.filename} ({archive.size:,} bytes)" for archive in archives
    )


def find_archives(name: str, folder: Path | None = None) -> dict[Archive, Path]:
    """Finds the original archives of a dataset.

    All must be there: of ImageNet, tensorflow-datasets would leave out a
    split whose archive is missing.

    Args:
        name: The dataset's name in `SOURCES`.
        folder: Where to look; by default where Debian's package puts them.

    Returns:
        The path of every archive.

    Raises:
        FileNotFoundError: If any is missing; the message names all that are.
    """
    source = SOURCES[name]
    expected = archives(name)
    received = folder
    folder = folder or source.package_dir
    if folder is None:
        raise FileNotFoundError(
            "Name the folder of the original files with --archives DIR. It "
            f"must hold:\n{archive_list(expected)}\n"
            "Received: archives=None."
        )
    found = {archive: folder / archive.filename for archive in expected}
    missing = [a for a, path in found.items() if not path.is_file()]
    if missing:
        absent = "" if folder.is_dir() else ", which is not a folder"
        package = f"Install Debian's package {source.package}, or name"
        advice = package if source.package else "Put them there, or name"
        raise FileNotFoundError(
            f"Archives missing in {folder}{absent}:\n"
            f"{archive_list(missing)}\n"
            f"{advice} another folder with --archives. "
            f"Received: archives='{received or folder}'."
        )
    return found


def verify(archive: Archive, path: Path) -> None:
    """Checks that a file is the original archive.

    Args:
        archive: What is expected. If it says what the content must be, the
            file may be compressed in any way.
        path: The file.

    Raises:
        ValueError: If it is damaged, cut short or another file.
    """
    if archive.content is None:
        _verify_file(archive, path)
        return
    digest = hashlib.sha256()
    flaw = "other content"
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        flaw = str(error)
    if digest.hexdigest() != archive.content:
        raise ValueError(
            f"{path} is not the original file: {flaw}. Get it again; mind "
            "that the archives of MNIST and Fashion-MNIST have the same "
            "names.\n"
            f"  expected SHA-256 of the content: {archive.content}\n"
            f"  received SHA-256 of the content: {digest.hexdigest()}"
        )


def _verify_file(archive: Archive, path: Path) -> None:
    size = path.stat().st_size
    if size != archive.size:
        flaw = "cut short" if size < archive.size else "too long"
        raise ValueError(
            f"{path} is not the original file: {flaw}. Get it again. "
            f"It must have {archive.size:,} bytes. Received: {size:,} bytes."
        )
    with open(path, "rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != archive.sha256:
        raise ValueError(
            f"{path} is not the original file: other content. Get it again.\n"
            f"  expected SHA-256: {archive.sha256}\n"
            f"  received SHA-256: {received}"
        )
