"""Forgetting events: examples that were right, and are wrong again."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array
from nc_keras.layers.forgetting_recorder import LEARNED
from nc_keras.layers.forgetting_recorder import ForgettingRecorder

__all__ = ["Forgetting", "events_of", "recorded", "result", "with_index"]


@dataclasses.dataclass(frozen=True, eq=False)
class Forgetting:
    """How often each example was forgotten, of Toneva et al. 2019.

    Attributes:
        events: int array of shape `(N,)`: how often it was right at one time
            and wrong at the next.
        learned: Booleans of shape `(N,)`, whether it was ever right.

    Args:
        events: See the attributes; so for the other arguments.
        learned: Array.

    Example:

    >>> found = nc_keras.forgetting.events_of([[0, 1, 1], [1, 0, 1]])
    >>> found.events.tolist(), found.unforgettable.tolist()
    ([0, 1], [True, False])
    """

    events: np.ndarray
    learned: np.ndarray

    @property
    def unforgettable(self) -> np.ndarray:
        """Booleans: learned, and never forgotten."""
        return self.learned & (self.events == 0)

    @property
    def scores(self) -> np.ndarray:
        """Floats: the events, and infinity for what was never learned."""
        return np.where(self.learned, self.events, np.inf)

    @property
    def order(self) -> np.ndarray:
        """The examples by their scores: what to leave out comes first."""
        return np.argsort(self.scores, kind="stable")


def events_of(correct: Any) -> Forgetting:
    """Counts forgetting events of a table.

    Example:

    >>> nc_keras.forgetting.events_of([[1, 0, 1, 0]]).events.tolist()
    [2]

    Args:
        correct: Array of zeros and ones, shape `(N, T)`: whether example `n`
            was right when it came for the time `t`.

    Raises:
        ValueError: If it is no such table.
    """
    table = real_array(correct, "`correct`")
    if table.ndim != 2 or not table.size or not np.isin(table, (0, 1)).all():
        raise ValueError(
            "`correct` must be zeros and ones of shape (N, T). "
            f"Received: correct of shape {table.shape}."
        )
    table = np.asarray(table == 1)
    lost = table[:, :-1] & ~table[:, 1:]
    return Forgetting(lost.sum(axis=1), np.any(table, axis=1))


def recorded(model: keras.Model, labels: Any) -> keras.Model:
    """Returns a model that trains the same layers and counts forgetting.

    Its inputs are those of `with_index(x)`. The statistic is exact: whether
    an example was right in its own batch, before the step, in training mode,
    so that augmentation and dropout are part of it.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.eye(4), np.array([0, 1, 2, 0])
    >>> counting = nc_keras.forgetting.recorded(model, y)
    >>> counting.compile("sgd", loss=nc_keras.losses.CE())
    >>> history = counting.fit(
    ...     nc_keras.forgetting.with_index(x), y, epochs=9, verbose=0
    ... )
    >>> found = nc_keras.forgetting.result(counting)
    >>> found.events.shape
    (4,)

    Args:
        model: A built Functional or Sequential model with one input and one
            output. Its layers, and so its weights, are shared.
        labels: Labels of all training examples, in the order of `x`.

    Raises:
        ValueError: If the model has several inputs or outputs.

    Reference:

    - [Toneva et al., 2019](https://arxiv.org/abs/1812.05159).
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "Forgetting is counted of a model with one input and one output. "
            f"Received: model {model.name!r} with {len(model.inputs)} inputs "
            f"and {len(model.outputs)} outputs."
        )
    (before,) = model.inputs
    x = keras.Input(before.shape[1:], dtype=before.dtype, name="x")
    index = keras.Input((), dtype="int32", name="index")
    recorder = ForgettingRecorder(labels, name="forgetting")
    return keras.Model(
        {"x": x, "index": index},
        recorder(model(x), index),
        name=f"{model.name}_recorded",
    )


def with_index(x: Any) -> dict[str, np.ndarray]:
    """Returns examples with their places, as a recorded model takes them.

    Example:

    >>> nc_keras.forgetting.with_index(np.zeros((2, 4)))["index"].tolist()
    [0, 1]

    Args:
        x: Array of shape `(N, ...)`, all training examples.
    """
    return {"x": x, "index": np.arange(len(x), dtype="int32")}


def result(counting: keras.Model | ForgettingRecorder) -> Forgetting:
    """Returns what a recorded model has counted so far.

    Args:
        counting: What `recorded` returned, or its `ForgettingRecorder`.

    Raises:
        ValueError: If it counts nothing, nothing was right yet, or an index
            was none of the labels'.
    """
    found = [counting]
    if isinstance(counting, keras.Model):
        found = counting.layers
    recorders = [one for one in found if isinstance(one, ForgettingRecorder)]
    if not recorders:
        raise ValueError(
            "Only a model of `nc_keras.forgetting.recorded` counts. "
            f"Received: {type(counting).__name__} {counting.name!r}."
        )
    (recorder,) = recorders
    flags = np.zeros(1)
    if recorder.built:
        flags = np.array(ops.convert_to_numpy(recorder.flags))
    if flags[-1] or not flags.any():
        what = "an index beyond the labels" if flags[-1] else "no example"
        raise ValueError(
            "Each example must come with its place among the labels, as "
            "`nc_keras.forgetting.with_index(x)` gives it, and one must have "
            f"been right. Received: {what}, of {len(recorder.labels)} labels."
        )
    # On torch an array is a view of what the next step changes: a copy.
    events = np.array(ops.convert_to_numpy(recorder.events))
    return Forgetting(events[:-1], flags[:-1] >= LEARNED)
