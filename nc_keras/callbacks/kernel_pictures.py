"""A kernel and its eigenvectors as images, made of colours alone."""

from __future__ import annotations

import numpy as np

from nc_keras.shades import shades

_SIZE = 320  # pixels, about


def kernel_image(kernel: np.ndarray) -> np.ndarray:
    """Draws a kernel: white is zero, red above, and blue below.

    Args:
        kernel: Array of shape `(N, N)`.

    Returns:
        A uint8 array of shape `(pixels, pixels, 3)`.

    Example:

    >>> from nc_keras.callbacks.kernel_pictures import kernel_image
    >>> kernel_image(np.eye(2))[0, 0], kernel_image(np.eye(2))[0, -1]
    (array([178,  24,  43], dtype=uint8), array([255, 255, 255], dtype=uint8))
    """
    repeat = max(_SIZE // len(kernel), 1)
    return _colors(kernel).repeat(repeat, axis=0).repeat(repeat, axis=1)


def plane_image(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draws values of points of a plane, each pixel that of the nearest.

    Args:
        points: Array of shape `(N, 2)`.
        values: Array of shape `(N,)`.

    Returns:
        A uint8 array of shape `(pixels, pixels, 3)`, the second coordinate
        upwards.

    Example:

    >>> from nc_keras.callbacks.kernel_pictures import plane_image
    >>> points = np.array([[0.0, 0.0], [1.0, 1.0]])
    >>> plane_image(points, np.array([0.0, 1.0]))[0, -1]
    array([178,  24,  43], dtype=uint8)
    """
    from scipy.spatial import cKDTree  # Only where it is needed: it is slow.

    low, high = points.min(axis=0), points.max(axis=0)
    across, up = (
        np.linspace(*ends, _SIZE) for ends in zip(low, high, strict=True)
    )
    pixels = np.stack(np.meshgrid(across, up[::-1]), axis=-1)
    return _colors(values[cKDTree(points).query(pixels)[1]])


def _colors(values):
    size = np.abs(values).max()
    return shades(values / size if size else values, 0.0)
