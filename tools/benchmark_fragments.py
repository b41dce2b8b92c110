"""What the documents show of a benchmark, as Markdown, from its kept record."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tools.markdown import table

Kept = Mapping[str, Any]


def forward(kept: Kept) -> str:
    """What a measurement costs beside inference."""
    return table(
        [
            {
                "network": row["network"],
                "images": f"{row['images']:,}",
                "`predict`, s": f"{row['seconds']['predict']:.2f}",
            }
            | {name: f"{ratio:.2f}" for name, ratio in row["ratios"].items()}
            for row in kept["record"]["forward"]
        ]
    )


def callbacks(kept: Kept) -> str:
    """What each callback costs, of the time of the training steps."""
    return table(
        [
            {"callback": row["callback"]}
            | {
                of: f"{round(100 * row[share], 1) + 0.0:.1f}"  # No -0.0.
                for of, share in (
                    ("in each epoch, %", "share"),
                    ("in 50 of 350 epochs, %", "scheduled"),
                )
            }
            for row in kept["record"]["callbacks"]
        ]
    )


def classes(kept: Kept) -> str:
    """Time and memory of many classes, beside another library."""
    rows = {}
    for row in kept["record"]["classes"]["rows"]:
        found = rows.setdefault(
            row["classes"],
            {
                "classes": f"{row['classes']:,}",
                "examples": f"{row['examples']:,}",
            }
            | dict.fromkeys(
                ("nc_keras, s", "MB", "the other, s", "the other, MB"),
                "not run",
            ),
        )
        names = ("nc_keras, s", "MB")
        if row["library"] != "nc_keras":
            names = ("the other, s", "the other, MB")
        found[names[0]] = f"{row['seconds']:.3g}"
        found[names[1]] = f"{row['megabytes']:,.0f}"
    return table(list(rows.values()))


def evaluated(kept: Kept) -> str:
    """An evaluation that measures, beside evaluating and measuring."""
    return table(
        [
            {
                "network": row["network"],
                "over `evaluate`": f"{row['over evaluate']:.2f}",
                "over `evaluate` and `measure`": f"{row['over both']:.2f}",
                "largest relative difference": f"{row['apart']:.0e}",
            }
            for row in kept["record"]["evaluated"]
        ]
    )


def features(kept: Kept) -> str:
    """The metrics of features beside one product with the head."""
    return table(
        [
            {
                "D": row["dim"],
                "C": f"{row['classes']:,}",
                "spread": row["spread"],
                "product, s": f"{row['product']:.3f}",
                "metrics / product": f"{row['ratio']:.1f}",
            }
            for row in kept["record"]["features"]
        ]
    )


def margins(kept: Kept) -> str:
    """The time of one-vs-rest margins."""
    return table(
        [
            {
                "head": {
                    "random": "drawn at random",
                    "simplex": "a simplex ETF, each row moved by 0.1",
                }[row["head"]],
                "C": f"{row['classes']:,}",
                "D": row["dim"],
                "s": f"{row['seconds']:.{row['seconds'] < 10:d}f}",
            }
            for row in kept["record"]["margins"]
        ]
    )


def growth(kept: Kept) -> str:
    """How the time grows with the classes."""
    return "C^{:.2f}".format(kept["record"]["classes"]["growth"]["nc_keras"])


def speed(kept: Kept) -> str:
    """Epochs of the recipes beside loops of PyTorch: how many times as fast."""
    rows = {}
    for row in kept["record"]["rows"]:
        rows.setdefault(row["network"], {})[row["contender"]] = row["seconds"]
    return table(
        [
            {"network": network}
            | {
                f"{name.removeprefix('keras-')} / {rival}": (
                    f"{seconds[rival] / seconds[name]:.2f}"
                )
                for rival in ("notebook", "tuned")
                for name in seconds
                if name.startswith("keras-")
            }
            for network, seconds in rows.items()
        ]
    )


FRAGMENTS: dict[str, Callable[[Kept], str]] = {
    function.__name__: function
    for function in (
        *(forward, evaluated, features, callbacks),
        *(classes, margins, growth, speed),
    )
}
