"""What settings must be, before anything is made of them."""

import math
from collections.abc import Iterator
from typing import Any

from nc_keras.experiments.options.own import take_in

_POSITIVE = (
    *("epochs", "fraction", "batch_size", "learning_rate", "measurements"),
    *("test_images", "devices", "steps_per_execution", "kernel", "oversample"),
)


def require_sound(settings: Any) -> None:
    """Refuses settings that no run can have.

    Args:
        settings: A `Settings`, whose names are taken in.

    Raises:
        ValueError: With what was received, and what it must be.
    """
    take_in("rates", list(settings.rates), settings.all_losses, {})
    for names, sound, rule in _rules(settings):
        if not sound:
            received = (f"{name}={getattr(settings, name)!r}" for name in names)
            raise ValueError(f"{rule} Received: {', '.join(received)}.")


def _rules(
    of: Any,
) -> Iterator[tuple[tuple[str, ...], bool, str]]:
    """The names that a rule is about, whether it is kept, and the rule."""
    for name in _POSITIVE:
        value = getattr(of, name)
        yield (name,), value is None or value > 0, f"`{name}` must be positive."
    yield (
        ("losses", "heads"),
        bool(of.runs),
        "None of these losses can be trained with these heads: "
        "`dot_regression` needs a fixed head, and `ldam` one whose rows have "
        "one length.",
    )
    yield (
        ("fraction",),
        of.fraction <= 1,
        "`fraction` scales a run down, so it is at most 1; `epochs` can be "
        "more.",
    )
    yield (
        ("imbalance", "ratio", "minority"),
        (of.imbalance is None) == (of.ratio is None)
        and (of.minority is None or of.imbalance == "step"),
        "`imbalance` and `ratio` go together, and `minority` with "
        "imbalance='step'.",
    )
    yield (
        ("ratio",),
        of.ratio is None or 1 <= of.ratio < math.inf,
        "`ratio`, of the largest to the smallest class, must be 1 or more, "
        "and finite.",
    )
    yield (
        ("deepfool", "weight_decay"),
        of.deepfool >= 0 and of.weight_decay >= 0,
        "`deepfool` and `weight_decay` must not be negative.",
    )
    yield (
        ("threshold", "momentum"),
        0 < of.threshold <= 1 and 0 <= of.momentum < 1,
        "`threshold` must be in (0, 1] and `momentum` in [0, 1).",
    )
    yield (
        ("drops",),
        all(0 < share < 1 for share in of.drops),
        "`drops` are shares of the epochs, between 0 and 1.",
    )
    yield (
        ("widths",),
        all(width > 0 for width in of.widths),
        "`widths` must be positive.",
    )
    yield (
        ("rates",),
        all(rate > 0 for rate in of.rates.values()),
        "`rates` must be positive.",
    )
    yield (
        ("seeds",),
        0 < len(of.seeds) == len(set(of.seeds)),
        "`seeds` must name one or more, each once.",
    )
