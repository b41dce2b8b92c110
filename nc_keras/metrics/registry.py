"""The metrics by tag. A new one is a function with `@metric` in a file."""

from collections.abc import Callable
from typing import Any

from nc_keras.metrics.last_layer import LastLayer

_NEEDS = ("kernel", "examples", "train_means")
METRICS: dict[str, tuple[Callable[[LastLayer], Any], frozenset[str]]] = {}


def metric(tag: str, *needs: str) -> Callable[[Callable], Callable]:
    """Registers a function of `LastLayer` as the metric `tag`.

    Args:
        tag: String, the key of the value wherever it is reported.
        *needs: Attributes of `LastLayer` without which the metric is left
            out: `"kernel"`, `"examples"`, `"train_means"`.
    """

    def register(function):
        METRICS[tag] = (function, frozenset(needs))
        return function

    return register


def tags(*have: str) -> list[str]:
    """Returns the metrics that need nothing but these of `LastLayer`."""
    return [tag for tag, (_, needs) in METRICS.items() if needs <= set(have)]


def evaluate(layer: LastLayer) -> dict[str, Any]:
    """Returns the value of every metric that the layer has data for."""
    have = [n for n in _NEEDS if getattr(layer, n) is not None]
    return {tag: METRICS[tag][0](layer) for tag in tags(*have)}
