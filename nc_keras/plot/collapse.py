"""Three classes become a triangle: the features over the epochs, moving."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from PIL import Image

from nc_keras.measuring.validation import names_of
from nc_keras.plot.feature_plane import draw_head
from nc_keras.plot.feature_plane import draw_means
from nc_keras.plot.feature_plane import draw_points
from nc_keras.plot.feature_plane import draw_rays
from nc_keras.plot.feature_plane import legend_entries
from nc_keras.plot.feature_plane import scaled
from nc_keras.plot.plane import Plane
from nc_keras.plot.plane import nearest_etf
from nc_keras.plot.style import GRID
from nc_keras.plot.style import legend_below
from nc_keras.plot.style import new_figure
from nc_keras.plot.style import styled
from nc_keras.writers.files import replace_atomically

_HALF = 1.6  # of the axes, in root mean squares of the features
_DPI = 90
_PALETTE = 96  # colours of a GIF
_LAST = 2.0  # seconds that a GIF stays at its end


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """The features of one epoch.

    Attributes:
        epoch: Integer, counted from 1; 0 is before the training.
        features: `(N, D)`.
        labels: `(N,)`, integers.
        means: `(C, D)`, the class means.
        head: `(C, D)`, the head's rows, or `None`.
    """

    epoch: int
    features: np.ndarray
    labels: np.ndarray
    means: np.ndarray
    head: np.ndarray | None


def collapse_movie(
    frames: Sequence[Frame],
    *,
    class_names: Iterable[str] | None = None,
    fps: float = 8,
    title: str = "",
) -> FuncAnimation:
    """Animates features on the plane of their last class means.

    All frames are seen from one side, so that what moves is the network. The
    head's rows are lines, the dashed rays the simplex ETF nearest to the last
    class means. Each frame is scaled to the same size, the root mean square
    of all features from their centre: otherwise the growth of the features
    would hide that they collapse.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> movie = nc_keras.plot.FeatureMovie(x, y)
    >>> _ = model.fit(x, y, epochs=1, callbacks=[movie], verbose=0)
    >>> animation = nc_keras.plot.collapse_movie(movie.frames)
    >>> "<img" in animation.to_jshtml()
    True

    Args:
        frames: The `frames` of a `FeatureMovie`.
        class_names: Strings, one per class; or `None` for numbers.
        fps: Float, frames in a second.
        title: String, above the picture.

    Returns:
        The `matplotlib.animation.FuncAnimation`: show it in a notebook with
        `IPython.display.HTML(animation.to_jshtml())`.

    Raises:
        ValueError: If there is no frame, or the last one has two classes
            only.

    The triangle of three classes is seen whole. Of more classes the plane
    shows two of the C - 1 dimensions.
    """
    stage = _Stage(frames, class_names, title)
    return FuncAnimation(
        stage.figure,
        stage.draw,
        frames=len(stage.frames),
        interval=1000 / fps,
        init_func=lambda: [],
    )


def save(
    path: str | os.PathLike,
    frames: Sequence[Frame],
    *,
    class_names: Iterable[str] | None = None,
    fps: float = 8,
    title: str = "",
) -> None:
    """Writes a movie as GIF or as a page.

    Args:
        path: As in `FeatureMovie.save`.
        frames: As in `collapse_movie`; so for the other arguments.
        class_names: Strings.
        fps: Float.
        title: String.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".gif", ".html"):
        raise ValueError(
            "A movie is a file that ends in .gif or .html. "
            f"Received: path={str(path)!r}."
        )
    if path.suffix == ".html":
        made = collapse_movie(
            frames, class_names=class_names, fps=fps, title=title
        )
        page = f"<!DOCTYPE html>\n<meta charset=utf-8>\n{made.to_jshtml()}"
        replace_atomically(path, lambda path: path.write_text(page, "utf-8"))
        return
    stage = _Stage(frames, class_names, title)
    pictures = [stage.picture(number) for number in range(len(stage.frames))]
    # One palette for all: that of the last, which has every colour.
    palette = _palette(pictures[-1])
    first, *others = [
        one.quantize(palette=palette, dither=Image.Dither.NONE)
        for one in pictures
    ]
    durations = [round(1000 / fps)] * len(pictures)
    durations[-1] = round(1000 * _LAST)
    replace_atomically(
        path,
        lambda path: first.save(
            path,
            format="gif",
            save_all=True,
            append_images=others,
            duration=durations,
            loop=0,
            optimize=True,
        ),
    )


def _palette(picture):
    """The colours of a picture, in which white stays white."""
    found = picture.quantize(_PALETTE)
    colors = np.array(found.getpalette(), "uint8").reshape(-1, 3)
    colors[colors.min(axis=1) > 245] = 255
    found.putpalette(colors.ravel().tolist())
    return found


class _Stage:
    """The figure that every frame is drawn in."""

    def __init__(self, frames, class_names, title):
        self.frames = list(frames)
        if not self.frames:
            raise ValueError(
                "A movie needs a frame. Pass the `FeatureMovie` to `fit` "
                "among its callbacks, and save it after that. "
                "Received: frames=[]."
            )
        last = self.frames[-1]
        means = last.means - np.nanmean(last.means, axis=0)
        self.plane = Plane.of(means)
        self.names = names_of(class_names, len(means))
        etf = nearest_etf(means)
        size = _size(last)
        self.etf = None if etf is None else self.plane.project(etf / size)
        with styled():
            self.figure: Figure = new_figure(4.2, 4.6)
            self.axis = self.figure.add_subplot()
            entries = legend_entries(
                self.names, etf is not None, last.head is not None
            )
            legend_below(self.figure, entries)
            if title:
                self.figure.suptitle(title)

    def draw(self, number: int) -> list:
        """Draws one frame in the place of the one before."""
        frame, axis = self.frames[number], self.axis
        center = np.nanmean(frame.means, axis=0)
        size = _size(frame)
        means = (frame.means - center) / size
        points = (frame.features - center) / size
        with styled():
            axis.clear()
            axis.set_xlim(-_HALF, _HALF)
            axis.set_ylim(-_HALF, _HALF)
            axis.set_aspect("equal")
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_visible(True)
                side.set_color(GRID)
            draw_points(
                axis, self.plane.project(points), frame.labels, len(self.names)
            )
            if self.etf is not None:
                draw_rays(axis, self.etf)
            if frame.head is not None:
                head = scaled(frame.head, means)
                draw_head(axis, self.plane.project(head))
            draw_means(axis, self.plane.project(means))
            when = f"epoch {frame.epoch}" if frame.epoch else "before training"
            axis.set_title(when, loc="left")
        return []

    def picture(self, number: int) -> Image.Image:
        """One frame in pixels."""
        self.draw(number)
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=_DPI)
        return Image.open(buffer).convert("RGB")


def _size(frame):
    """Root mean square of the features from the centre of the means."""
    center = np.nanmean(frame.means, axis=0)
    squares = ((frame.features - center) ** 2).sum(axis=1)
    return max(float(np.sqrt(squares.mean())), 1e-30)
