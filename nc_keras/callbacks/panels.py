"""What the TensorBoard pages show."""

from collections.abc import Iterable

import numpy as np

from nc_keras.geometry import cosines
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

_BELOW = np.array([33, 102, 172])  # blue
_ABOVE = np.array([178, 24, 43])  # red
_MOST = 512  # classes in an image
_UNDEFINED = np.array([128, 128, 128])  # grey


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


def cosine_image(rows: np.ndarray, size: int = 320) -> np.ndarray:
    """Draws the cosines between rows, white where they are a simplex ETF's.

    Args:
        rows: Array of shape `(C, D)`.
        size: Integer, about how many pixels the image is wide.

    Returns:
        A uint8 array of shape `(pixels, pixels, 3)`, at least one pixel a
        pair. Red cosines are above `-1 / (C - 1)`, blue ones below, and grey
        ones not defined. Of more than 512 classes 512 are drawn, evenly
        spread.
    """
    simplex = -1 / (len(rows) - 1)
    shown = np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(int)
    of_pairs = cosines(rows[shown])
    # Each side has its own scale: full colour at 1 and at -1.
    above = np.clip((of_pairs - simplex) / (1 - simplex), 0, 1)[..., None]
    below = np.clip((simplex - of_pairs) / max(1 + simplex, 1e-9), 0, 1)
    pixels = 255 + above * (_ABOVE - 255) + below[..., None] * (_BELOW - 255)
    pixels = np.where(np.isnan(of_pairs)[..., None], _UNDEFINED, pixels)
    repeat = max(size // len(shown), 1)
    return pixels.astype("uint8").repeat(repeat, axis=0).repeat(repeat, axis=1)
