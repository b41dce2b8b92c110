"""Makes the results that the documents quote, and writes them there.

    ./tools/results                        lists them, and which are stale
    ./tools/results NAME ... | all         makes some; goes on where it was
    ./tools/results --background NAME ...  the same, with a log
    ./tools/results --write                writes them into the documents
    ./tools/results --check                exits with 1 if anything is stale

What a run found stays in `docs/results/NAME.json`, small, with the commit, the
versions and the machine. A result is stale if the settings of its command or
a trajectory of `tools.golden` that trains as it does is another one today.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

from tools import fragments
from tools import golden
from tools import pages
from tools.registry import RESULTS
from tools.registry import Result

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"
RUNS = ROOT / "runs" / "results"
_RECORDS = ("results.json", "sweep.json")
_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "numpy")


def make(result: Result) -> None:
    """Runs the command of a result, and keeps what it found.

    Raises:
        SystemExit: If the command fails.
    """
    folder = RUNS / result.name
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "made.json"
    if not made.exists():
        made.write_text(json.dumps(_circumstances(result)))
    print(f"{result.name}: {result.backend}, {result.command}", flush=True)
    output = folder / _RECORDS[0] if result.is_timed else folder
    subprocess.run(
        [sys.executable, "-m", *result.words, "--output", str(output)],
        check=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": result.backend},
    )
    keep(result, folder)


def keep(result: Result, folder: pathlib.Path) -> None:
    """Keeps the numbers and the picture of a finished run.

    Args:
        result: The result.
        folder: The folder that its command wrote.

    Raises:
        SystemExit: If the run was of other settings.
    """
    found = next(f for name in _RECORDS if (f := folder / name).exists())
    record = json.loads(found.read_text())
    if result.is_timed:
        record["settings"] = result.settings()
    other = _differences(result, record["settings"])
    if other:
        sys.exit(f"error: {folder} is of other settings: {', '.join(other)}.")
    kept = {
        "name": result.name,
        "command": f"KERAS_BACKEND={result.backend} python -m {result.command}",
        **json.loads((folder / "made.json").read_text()),
        "machine": record["machine"],
        "record": fragments.reduced(record),
    }
    if result.figure:
        picture = KEPT / f"{result.name}.png"
        shutil.copyfile(folder / result.figure, picture)
        kept["figure"] = _digest(picture)
    path = KEPT / f"{result.name}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def faults(result: Result) -> list[str]:
    """Says why a result that is kept cannot be quoted, if so."""
    path = KEPT / f"{result.name}.json"
    if not path.exists():
        return ["was never made"]
    kept = json.loads(path.read_text())
    found = [
        f"trains otherwise since then: {other}"
        for other in _differences(result, kept["record"]["settings"])
    ]
    if kept["trajectories"] != golden.fingerprint(
        result.backend, result.golden
    ):
        found.append(
            f"was made by other trainings than today's ({result.backend}: "
            f"{', '.join(result.golden)})"
        )
    picture = KEPT / f"{result.name}.png"
    if result.figure and _digest(picture) != kept.get("figure"):
        found.append(f"{picture.name} is not the picture that it left")
    return found


def check() -> list[str]:
    """Returns all that is stale, in results and in documents."""
    stale = [
        f"{name} {fault}. Make it again: ./tools/results {name}"
        for name, result in RESULTS.items()
        for fault in faults(result)
        if name in pages.quoted()
    ]
    return stale + [
        f"{page}: not what the results say. Run ./tools/results --write"
        for page in pages.outdated()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: The options; by default those of the command line.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    for option in ("check", "write", "background"):
        parser.add_argument(f"--{option}", action="store_true")
    asked = parser.parse_args(arguments)
    names = list(RESULTS) if asked.names == ["all"] else asked.names
    for name in names:
        if name not in RESULTS:
            parser.error(f"no result {name!r}; there are {', '.join(RESULTS)}")
    if asked.background:
        _in_background(names)
        return
    for name in names:
        make(RESULTS[name])
    if asked.write or names:
        for page in pages.write():
            print(f"written  {page}")
    if asked.check:
        stale = check()
        print(
            *stale or ["All results are what trainings give today."], sep="\n"
        )
        sys.exit(bool(stale))
    if not (names or asked.write):
        for name, result in RESULTS.items():
            print(f"{name}: {'; '.join(faults(result)) or 'kept'}")


def _in_background(names):
    RUNS.mkdir(parents=True, exist_ok=True)
    log = RUNS / "log.txt"
    with open(log, "a") as file:
        subprocess.Popen(
            [sys.executable, "-m", "tools.results", *names],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    print(f"runs on; its log is {log.relative_to(ROOT)}")


def _circumstances(result: Result) -> dict[str, Any]:
    """What a run was made with, as it begins."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "date": datetime.date.today().isoformat(),
        "trajectories": golden.fingerprint(result.backend, result.golden),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions():
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _differences(result, before):
    """The settings that the command has today and had not before.

    An option that there was not yet counts where the command names it: what
    its default does to a training, the golden trajectories tell.
    """
    return [
        f"{key} is {value}, was {before.get(key)}"
        for key, value in result.settings().items()
        if (key in before or f"--{key.replace('_', '-')}" in result.words)
        and _unordered(before.get(key)) != _unordered(value)
    ]


def _unordered(value):
    """A record names heads, losses and seeds in an order of its own."""
    return sorted(value) if isinstance(value, list) else value


def _digest(path):
    if not path.exists():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    main()
