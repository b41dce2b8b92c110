"""Prepares a dataset for the recipes without internet.

    python tools/prepare_dataset.py fashion_mnist
    python tools/prepare_dataset.py cifar10 --archives ~/cifar10

The first finds the archives of Debian's package `dataset-fashion-mnist`; for
every other dataset, name a folder that holds its original files. Without it,
the tool lists them. Use a folder for each dataset: MNIST and Fashion-MNIST
have the same file names.

tensorflow-datasets prepares `data/NAME/VERSION`, and `data/NAME.npz` is
written for `datasets.load`. Fashion-MNIST takes about half a minute
on two CPU cores and 100 MB of disk, as much again while it works. ImageNet
takes hours, and room for a copy of its archives; its .npz has labels only.

tensorflow-datasets accepts an archive by the checksum of the file, so a
mirror that compressed the files of MNIST or Fashion-MNIST again is refused.
Of these two this tool checks the *content* instead, against SHA-256 sums
pinned in `nc_keras/experiments/datasets/sources.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import recipes  # noqa: F401  TensorFlow keeps quiet.
from nc_keras.experiments.console.quiet import silenced

with silenced(2):
    from nc_keras.experiments import datasets

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
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing half-written is left")


def prepare(name: str, data_dir: Path, folder: Path | None = None) -> None:
    """Prepares a dataset with tensorflow-datasets unless it is there.

    Args:
        name: The dataset's name in `nc_keras.experiments.datasets.SOURCES`.
        data_dir: Folder to prepare it in.
        folder: Folder of the original archives; by default where Debian's
            package puts them.

    Raises:
        FileNotFoundError: If archives are missing.
        OSError: If the disk is full, or something else stops the work.
        ValueError: If the name is unknown, or an archive is not the original.
    """
    check_name(name)
    path = datasets.prepared_path(name, data_dir)
    if datasets.is_prepared(name, data_dir):
        print(f"{path}: already prepared")
        return
    start = time.perf_counter()
    with silenced(1, 2):
        archives = datasets.find_archives(name, folder)
    check_space(name, data_dir)
    for archive, file in archives.items():
        datasets.verify(archive, file)
    print(f"{len(archives)} archives: content verified{_seconds(start)}")
    hours = datasets.SOURCES[name].streamed
    duration = "takes hours" if hours else "takes half a minute or more"
    print(f"preparing with tensorflow-datasets {duration}", flush=True)
    start = time.perf_counter()
    with blamed(name, data_dir), staged(data_dir) as stage:
        # The bars of tensorflow-datasets are worth their noise in hours only.
        with silenced() if hours else silenced(1, 2):
            _prepare_in(stage, name, archives)
        path.parent.mkdir(exist_ok=True)
        datasets.prepared_path(name, stage).rename(path)
    size = sum(file.stat().st_size for file in path.iterdir())
    print(f"{path}: {size / 1e6:.1f} MB{_seconds(start)}")


def cache(name: str, data_dir: Path) -> None:
    """Writes a prepared dataset's .npz file unless a sound one is there.

    Args:
        name: The dataset's name in `nc_keras.experiments.datasets.SOURCES`.
        data_dir: Folder that holds the prepared dataset.

    Raises:
        OSError: If it cannot be read or written.
        ValueError: If the prepared dataset is not what it must be.
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
    with blamed(name, data_dir):
        datasets.write_npz(dataset, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB{_seconds(start)}")


def check_name(name: str) -> None:
    """Raises a `ValueError` unless the dataset is one to prepare."""
    if name == "digits":
        raise ValueError(
            "scikit-learn brings this dataset, so there is nothing to "
            "prepare. Received: name='digits'."
        )
    if name not in datasets.SOURCES:
        raise ValueError(datasets.unknown(name))


def check_space(name: str, data_dir: Path) -> None:
    """Raises an `OSError` if the disk has too little room to prepare a set."""
    existing = data_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    needed = bytes_needed(name)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OSError(
            f"Preparing '{name}' needs up to {needed:,} bytes in {data_dir}. "
            "Make room, or name a folder on another disk with --data-dir. "
            f"Received: {free:,} bytes free."
        )


def bytes_needed(name: str) -> int:
    """Returns how much disk preparing a dataset needs, at most.

    The raw pixels count twice: as extracted files, in whose place the .npz
    comes later, and as prepared images. JPEG files stay as they are in the
    archives. A tenth is for headers.
    """
    size = sum(archive.size for archive in datasets.archives(name))
    return size + size // 10 + 2 * datasets.SOURCES[name].raw_bytes


@contextlib.contextmanager
def staged(data_dir: Path) -> Iterator[Path]:
    """Yields a folder for unfinished work in `data_dir`, and removes it.

    If the work fails, folders that were made on the way are removed as well.
    """
    made = [p for p in (data_dir, *data_dir.parents) if not p.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".preparing-", dir=data_dir
        ) as stage:
            yield Path(stage)
    finally:
        # Succeeds for empty folders only.
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def blamed(name: str, data_dir: Path) -> Iterator[None]:
    """Turns whatever stops the work into an `OSError` that says what to do."""
    try:
        yield
    except Exception as error:
        # tensorflow-datasets, TensorFlow and array_record raise all kinds.
        reason = str(error).strip().splitlines() or [""]
        raise OSError(
            f"'{name}' could not be prepared: {reason[0]}\n"
            "Nothing half-written is left. If the disk is full or not "
            "writable, name another folder with --data-dir; up to "
            f"{bytes_needed(name):,} bytes are needed. Received: "
            f"{type(error).__name__}, data_dir='{data_dir}'."
        ) from error


def _prepare_in(
    stage: Path, name: str, archives: dict[datasets.Archive, Path]
) -> None:
    import tensorflow_datasets as tfds

    builder = datasets.builder(name, stage)
    downloads, manual = stage / "downloads", stage / "manual"
    downloads.mkdir()
    manual.mkdir()
    if all(archive.content for archive in archives):
        _hand_over(archives, builder, downloads)
    else:
        # Only these: ImageNet's test images would cost hours for nothing.
        for archive, path in archives.items():
            (manual / archive.filename).symlink_to(path.absolute())
    _allow_open_files()
    builder.download_and_prepare(
        download_dir=downloads,
        download_config=tfds.download.DownloadConfig(
            manual_dir=manual,
            # 256 files of ImageNet instead of 1024, which are open at once.
            min_shard_size=512 << 20,
        ),
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


def _allow_open_files(count: int = 4096) -> None:
    # tfds sorts a big split through a thousand files that are open at once,
    # and 1024 is a common limit.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _seconds(start: float) -> str:
    return f" ({time.perf_counter() - start:.1f} s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        help=f"the dataset to prepare: {', '.join(datasets.SOURCES)}",
    )
    parser.add_argument(
        "--archives",
        type=Path,
        metavar="DIR",
        help="folder of the original files (default for fashion_mnist: the "
        "folder of Debian's package)",
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
