"""Heatmaps of pairs of classes for TensorBoard, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from nc_keras import geometry
from nc_keras.shades import shades

_MOST = 512  # classes in an image
_SIZE = 320  # pixels, about, that the classes are wide
_TEXT, _TITLE = 12, 14  # points
_LINE = 15  # pixels that a name needs
_INK = (26, 27, 28)
_GAP = 8  # pixels
_BAR = 14  # pixels that the colour bar is wide


def cosine_image(rows: np.ndarray, size: int = _SIZE) -> np.ndarray:
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
    shown = _shown(len(rows))
    colors = shades(geometry.cosines(rows[shown]), -1 / (len(rows) - 1))
    return _enlarged(colors, size)


def cosine_picture(
    rows: np.ndarray, names: Sequence[str] | np.ndarray, title: str
) -> np.ndarray:
    """Draws the cosines between rows, with axes, names and a colour bar.

    Args:
        rows: Array of shape `(C, D)`.
        names: The name of each row, of which as many are written as fit.
        title: String, what the rows are.

    Returns:
        A uint8 array of shape `(height, width, 3)`.

    Example:

    >>> from nc_keras.callbacks.class_picture import cosine_picture
    >>> cosine_picture(np.eye(3), ["cat", "dog", "cow"], "means").shape[2]
    3
    """
    simplex = -1 / (len(rows) - 1)
    labels = {
        1.0: "1: the same direction",
        simplex: f"{simplex:.2g}: simplex ETF",
        -1.0: "-1: opposite",
    }
    return _picture(cosine_image(rows), simplex, labels, names, title)


def logit_picture(
    logits: np.ndarray, names: Sequence[str] | np.ndarray, title: str
) -> np.ndarray:
    """Draws the outputs at the class means, red above zero, and blue below.

    Args:
        logits: Array of shape `(C, C)`, a row per class.
        names: As in `cosine_picture`.
        title: As in `cosine_picture`.

    Returns:
        As `cosine_picture`.

    Example:

    >>> from nc_keras.callbacks.class_picture import logit_picture
    >>> logit_picture(np.eye(3) - 0.5, ["cat", "dog", "cow"], "logits").shape[2]
    3
    """
    shown = _shown(len(logits))
    largest = np.abs(logits).max() or 1.0
    colors = shades(logits[np.ix_(shown, shown)] / largest, 0.0)
    labels = {
        value: f"{value * largest:.3g}" for value in (1.0, 0.5, 0.0, -0.5, -1.0)
    }
    return _picture(_enlarged(colors, _SIZE), 0.0, labels, names, title)


def _enlarged(colors, size):
    """Squares of about so many pixels together."""
    repeat = max(size // len(colors), 1)
    return colors.repeat(repeat, axis=0).repeat(repeat, axis=1)


def _picture(pixels, white, labels, names, title):
    """A heatmap with axes, names and a colour bar."""
    matrix = Image.fromarray(pixels)
    font = ImageFont.load_default(_TEXT)
    written = _names(names, matrix.height)
    widest = max(int(font.getlength(text)) for _, text in written)
    left, top = widest + 2 * _GAP, _TITLE + 2 * _GAP
    bar = _bar(white, labels, matrix.height, font)
    width = left + matrix.width + 2 * _GAP + bar.width + _GAP
    title_font = ImageFont.load_default(_TITLE)
    width = max(width, int(title_font.getlength(title)) + 2 * _GAP)
    height = top + matrix.height + widest + 2 * _GAP
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((_GAP, _GAP // 2), title, _INK, title_font)
    picture.paste(matrix, (left, top))
    cell = matrix.height / len(_shown(len(names)))
    for place, text in written:
        middle = (place + 0.5) * cell
        pen.text((left - _GAP, top + middle), text, _INK, font, anchor="rm")
        upright = _upright(text, font)
        across = int(left + middle - upright.width / 2)
        picture.paste(upright, (across, top + matrix.height + _GAP // 2))
    picture.paste(bar, (left + matrix.width + 2 * _GAP, top))
    return np.asarray(picture)


def _shown(count):
    """The rows that are drawn, of very many."""
    return np.linspace(0, count - 1, min(count, _MOST)).astype(int)


def _names(names, height):
    """Places and names, as many as have room."""
    shown = _shown(len(names))
    every = -(-_LINE * len(shown) // height)
    return [
        (place, str(names[row]))
        for place, row in enumerate(shown)
        if place % every == 0
    ]


def _upright(text, font):
    """A text that is read from below."""
    size = int(font.getlength(text)) + 2, _TEXT + 4
    line = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(line)
    pen.text((size[0], size[1] / 2), text, _INK, font, anchor="rm")
    return line.rotate(90, expand=True)


def _bar(white, labels, height, font):
    """The colours from 1 down to -1, and what some of them mean."""
    values = np.linspace(1, -1, height)
    colors = shades(values, white)[:, None].repeat(_BAR, axis=1)
    room = max(int(font.getlength(text)) for text in labels.values())
    bar = Image.new("RGB", (_BAR + _GAP + room, height), "white")
    bar.paste(Image.fromarray(colors), (0, 0))
    pen = ImageDraw.Draw(bar)
    pen.rectangle((0, 0, _BAR, height - 1), outline=_INK)
    for value, text in labels.items():
        place = (1 - value) / 2 * (height - 1)
        # At the ends, the text stays inside.
        place = min(max(place, _TEXT / 2), height - 1 - _TEXT / 2)
        pen.text((_BAR + _GAP, place), text, _INK, font, anchor="lm")
    return bar
