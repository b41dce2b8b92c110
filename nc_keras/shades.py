"""The colours of cosines: white is a simplex ETF's, red above, blue below."""

from __future__ import annotations

import numpy as np

BELOW = np.array([33, 102, 172])  # blue
ABOVE = np.array([178, 24, 43])  # red
UNDEFINED = np.array([128, 128, 128])  # grey


def shades(cosines: np.ndarray, simplex: float) -> np.ndarray:
    """The colours of cosines, each side of white with a scale of its own.

    Args:
        cosines: Array of any shape.
        simplex: Float, the cosine that is white: `-1 / (C - 1)`.

    Returns:
        A uint8 array with one more axis, of red, green and blue.

    Example:

    >>> from nc_keras.shades import shades
    >>> shades(np.array([1.0, -0.5, -1.0]), -0.5).tolist()
    [[178, 24, 43], [255, 255, 255], [33, 102, 172]]
    """
    above = np.clip((cosines - simplex) / (1 - simplex), 0, 1)[..., None]
    below = np.clip((simplex - cosines) / max(1 + simplex, 1e-9), 0, 1)
    pixels = 255 + above * (ABOVE - 255) + below[..., None] * (BELOW - 255)
    pixels = np.where(np.isnan(cosines)[..., None], UNDEFINED, pixels)
    return pixels.astype("uint8")
