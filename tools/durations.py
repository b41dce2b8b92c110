"""Keeps what tests take, by which `./tools/test` leaves out the longest.

    ./tools/test --whole && python -m tools.durations

Run it where nothing else runs, and commit tests/durations.json.
"""

import argparse
import json
import pathlib
from xml.etree import ElementTree

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "tests/durations.json"
BACKENDS = ("tensorflow", "jax")
# Seconds: what is shorter is not worth a line.
SHORTEST = 0.3


def durations(path: str | pathlib.Path) -> dict[str, float]:
    """The seconds of each test in a JUnit file.

    Args:
        path: As pytest writes it with `--junitxml`.
    """
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        seconds = round(float(case.get("time", 0)), 1)
        found[f"{file}::{case.get('name')}"] = seconds
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder",
        default=ROOT / ".venv",
        type=pathlib.Path,
        help="where took-tensorflow.xml and took-jax.xml are",
    )
    folder = parser.parse_args().folder
    # A run of some tests leaves what others took.
    kept = json.loads(PATH.read_text("utf-8"))
    for backend in BACKENDS:
        kept[backend] |= durations(folder / f"took-{backend}.xml")
    found = {
        backend: {test: s for test, s in took.items() if s >= SHORTEST}
        for backend, took in kept.items()
    }
    text = json.dumps(found, indent=0, sort_keys=True)
    PATH.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
