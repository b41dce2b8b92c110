"""The places of documents that show results, between two markers.

    <!-- result digits.comparison -->
    ... written by ./tools/results --write, never by hand ...
    <!-- end -->

names a result of `tools.registry` and a function of `tools.fragments`;
`<!-- metrics default -->` and `<!-- metrics more -->` are the tables of what
the metrics say of themselves.
"""

import json
import pathlib
import re

from tools.fragments import FRAGMENTS
from tools.metrics_table import metrics_table
from tools.registry import RESULTS

ROOT = pathlib.Path(__file__).resolve().parents[1]
_PLACE = re.compile(
    r"(<!-- result (\w+)\.(\w+) -->)(.*?)(<!-- end -->)", re.DOTALL
)

_METRICS = re.compile(r"(<!-- metrics (\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)


def documents() -> list[pathlib.Path]:
    """Returns the documents of the project."""
    return [
        ROOT / "README.md",
        ROOT / "recipes" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]


def quoted() -> set[str]:
    """Returns the names of the results that documents show."""
    return {
        found[2]
        for page in documents()
        for found in _PLACE.finditer(page.read_text())
    }


def rendered(text: str) -> str:
    """Returns the text of a document with all results as they are kept.

    Raises:
        ValueError: If it names a result or a fragment that does not exist.
    """

    def place(found: re.Match) -> str:
        opening, name, fragment, before, end = found.groups()
        if name not in RESULTS or fragment not in FRAGMENTS:
            raise ValueError(
                f"Results are {', '.join(RESULTS)}; fragments are "
                f"{', '.join(FRAGMENTS)}. Received: {name}.{fragment}."
            )
        path = ROOT / "docs" / "results" / f"{name}.json"
        if not path.exists():
            return found[0]
        content = FRAGMENTS[fragment](json.loads(path.read_text()))
        # A place inside a line stays inside a line.
        around = "\n\n" if before.startswith("\n") else ""
        return f"{opening}{around}{content}{around}{end}"

    def metrics(found: re.Match) -> str:
        opening, which, _, end = found.groups()
        return f"{opening}\n\n{metrics_table(which)}\n\n{end}"

    return _METRICS.sub(metrics, _PLACE.sub(place, text))


def outdated() -> list[str]:
    """Returns the documents that show something else than the results."""
    return [
        str(page.relative_to(ROOT))
        for page in documents()
        if rendered(page.read_text()) != page.read_text()
    ]


def write() -> list[str]:
    """Writes the results into the documents, and returns which changed."""
    names = outdated()
    for name in names:
        path = ROOT / name
        path.write_text(rendered(path.read_text()))
    return names
