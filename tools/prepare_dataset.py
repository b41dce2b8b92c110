"""Prepares a dataset for the recipes without internet.

    python tools/prepare_dataset.py fashion_mnist
    python tools/prepare_dataset.py fashion_mnist --archives ~/Downloads

The first finds the archives of Debian's package `dataset-fashion-mnist`. Both
prepare `data/fashion_mnist/3.0.1` through tensorflow-datasets and write
`data/fashion_mnist.npz` for `recipes.datasets.load`. Takes about half a
minute on two CPU cores and 100 MB of disk, as much again while it works.

tensorflow-datasets accepts an archive by the checksum of the .gz file, so a
mirror that compressed the same files again is refused. This tool checks the
*content* instead, against SHA-256 sums pinned in `recipes/datasets.py`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recipes import datasets
from recipes.quiet import silenced

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with 1 and a message on user errors.

    Args:
        argv: Arguments without the program's name; by default `sys.argv`.
    """
    args = _parser().parse_args(argv)
    try:
        prepare(args.name, args.data_dir, args.archives)
        cache(args.name, args.data_dir)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def prepare(name: str, data_dir: Path, folder: Path | None = None) -> None:
    """Prepares a dataset with tensorflow-datasets unless it is there.

    Args:
        name: The dataset's name in `recipes.datasets.SOURCES`.
        data_dir: Folder to prepare it in.
        folder: Folder of the original archives; by default where Debian's
            package puts them.

    Raises:
        FileNotFoundError: If archives are missing.
        ValueError: If an archive has the wrong content.
    """
    path = datasets.prepared_path(name, data_dir)
    if datasets.is_prepared(name, data_dir):
        print(f"{path}: already prepared")
        return
    start = time.perf_counter()
    archives = find_archives(name, folder)
    for archive, file in archives.items():
        verify(archive, file)
    print(f"{len(archives)} archives: content verified{_seconds(start)}")
    print("tensorflow-datasets prepares them, about half a minute", flush=True)
    start = time.perf_counter()
    with silenced(1, 2), tempfile.TemporaryDirectory() as downloads:
        builder = datasets.builder(name, data_dir)
        _hand_over(archives, builder, Path(downloads))
        builder.download_and_prepare(download_dir=downloads)
    size = sum(file.stat().st_size for file in path.iterdir())
    print(f"{path}: {size / 1e6:.1f} MB{_seconds(start)}")


def cache(name: str, data_dir: Path) -> None:
    """Writes a prepared dataset's .npz file unless a sound one is there.

    Args:
        name: The dataset's name in `recipes.datasets.SOURCES`.
        data_dir: Folder that holds the prepared dataset.
    """
    path = datasets.npz_path(name, data_dir)
    if path.exists():
        try:
            datasets.read_npz(name, path)
        except ValueError:
            print(f"{path}: damaged, so it is written again")
        else:
            print(f"{path}: already there")
            return
    start = time.perf_counter()
    with silenced(1, 2):
        dataset = datasets.read_prepared(name, data_dir)
    datasets.write_npz(dataset, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB{_seconds(start)}")


def find_archives(
    name: str, folder: Path | None = None
) -> dict[datasets.Archive, Path]:
    """Finds the original archives of a dataset.

    Args:
        name: The dataset's name in `recipes.datasets.SOURCES`.
        folder: Where to look; by default where Debian's package puts them.

    Returns:
        The path of every archive.

    Raises:
        FileNotFoundError: If any is missing; the message names all that are.
    """
    source = datasets.SOURCES[name]
    folder = folder or source.package_dir
    found = {archive: folder / archive.filename for archive in source.archives}
    missing = tuple(a for a, path in found.items() if not path.is_file())
    if missing:
        raise FileNotFoundError(
            f"Archives missing in {folder}:\n"
            f"{datasets.archive_list(name, missing)}\n"
            f"Install Debian's package {source.package}, or name another "
            f"folder with --archives. Received: archives='{folder}'."
        )
    return found


def verify(archive: datasets.Archive, path: Path) -> None:
    """Checks the content of an archive, however it was compressed.

    Args:
        archive: What is expected.
        path: The .gz file.

    Raises:
        ValueError: If the content is damaged, cut short or another file's.
    """
    digest = hashlib.sha256()
    flaw = "other content"
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        flaw = str(error)
    if digest.hexdigest() != archive.sha256:
        raise ValueError(
            f"{path} is not the original file: {flaw}. Get it again; mind "
            "that MNIST's archives have the same names.\n"
            f"  expected SHA-256 of the content: {archive.sha256}\n"
            f"  received SHA-256 of the content: {digest.hexdigest()}"
        )


def _hand_over(
    archives: dict[datasets.Archive, Path],
    builder: tfds.core.DatasetBuilder,
    downloads: Path,
) -> None:
    # tfds trusts a finished download by the checksum in its file name, so
    # neither its code nor its table of checksums needs to be changed.
    from tensorflow_datasets.core.download import resource

    folder = downloads / builder.name
    folder.mkdir()
    paths = {archive.filename: path for archive, path in archives.items()}
    for url, info in builder.url_infos.items():
        target = folder / resource.get_dl_fname(url, info.checksum)
        shutil.copyfile(paths[info.filename], target)
        resource.get_info_path(target).write_text("{}")


def _seconds(start: float) -> str:
    return f" ({time.perf_counter() - start:.1f} s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", choices=datasets.SOURCES, help="the dataset to prepare"
    )
    parser.add_argument(
        "--archives",
        type=Path,
        metavar="DIR",
        help="folder of the original archives (default: the folder of "
        "Debian's package)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="folder to prepare the dataset in (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
