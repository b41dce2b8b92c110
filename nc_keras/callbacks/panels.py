"""What the TensorBoard pages show."""

from collections.abc import Iterable

from nc_keras.measuring.registry import GROUPS
from nc_keras.measuring.registry import Metric

# Category, chart, and the regular expressions of the tags that it draws. Each
# colour is a run; the list under a chart says which mark is which tag.
LOSS_PANELS = {
    "Loss and error (with the terminal phase marked)": {
        "loss": ["^loss$", "^terminal_phase/loss$"],
        "error": ["^error$", "^terminal_phase/error$"],
        "learning rate": ["^learning_rate$"],
        "terminal phase: 1 once the error vanished": ["^terminal_phase$"],
    },
}

# Where the MSE loss is decomposed.
MSE_PANELS = {
    "MSE loss: its parts, and the central path": {
        "L_NC1: spread within classes": ["^mse/nc1$"],
        "L_NC2/3: misses at the class means": ["^mse/nc23$"],
        "L_perp: distance from the best head": ["^mse/perp$"],
        "L_perp / L: 0 on the central path": ["^mse/perp_share$"],
    },
}


def panels_of(metrics: Iterable[Metric]) -> dict[str, dict[str, list[str]]]:
    """Returns the charts of metrics, as those say of themselves.

    Args:
        metrics: The `Metric`s that are measured.

    Example:

    >>> from nc_keras.callbacks.panels import panels_of
    >>> panels_of([nc_keras.metrics.METRICS["nc1"]])
    {'NC1 variability collapse': {'tr(Sw Sb+) / C': ['^nc/nc1$']}}
    """
    panels: dict[str, dict[str, list[str]]] = {
        heading: {} for _, heading in GROUPS.values()
    }
    for metric in metrics:
        if not metric.per_class:
            _, heading = GROUPS[metric.group]
            tags = panels[heading].setdefault(metric.title, [])
            tags.append(f"^nc/{metric.tag}$")
    return {heading: charts for heading, charts in panels.items() if charts}
