"""Sums of features on the device, in which nothing cancels or vanishes."""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import real_array
from nc_keras.measuring.class_statistics import ClassStatistics

# Sums are kept in units of a power of two where features leave this range:
# the square of a float32 below 1e-19 is 0, and above 1e19 infinite.
_ORDINARY = (2.0**-30, 2.0**30)
_SHRUNK = 2.0**-8
_UNITS = 2.0 ** np.arange(-120, 121)
# Counts carry over into a second number: beyond 2^24, float32 + 1 is the same.
_CARRY = {"bfloat16": 2.0**4, "float16": 2.0**7}


class CenteredSums(keras.metrics.Metric):
    """Base class of metrics that sum up features about points near them.

    Each class has a reference, the mean of the first batch that holds it or
    what was set, and is centred there before anything is squared. Replicas
    of a distribution strategy keep a state each, with references of its own.
    """

    num_classes: int

    def add_state(self, num_classes: int, dim: int, **more: tuple) -> None:
        """Creates the state.

        Args:
            num_classes: Integer, the number of classes `C`.
            dim: Integer, the dimension `D` of the features.
            **more: Shapes of further sums of squares, by name.
        """
        shapes = {
            "references": (num_classes, dim),
            "known": (num_classes,),
            "unit": (),
            "counts": (num_classes,),
            "carried": (num_classes,),
            "sums": (num_classes, dim),
            "squares": (num_classes,),
            "scatter": (dim, dim),
        }
        self._squared = ["squares", "scatter", *more]
        self._state = {
            name: self.add_variable(
                shape, "zeros", self.dtype, _aggregation(name), name
            )
            for name, shape in (shapes | more).items()
        }
        _refuse_lost_replicas(self._state["counts"])
        self._carry = _CARRY.get(self.dtype, 2.0**20)

    @property
    def counts(self) -> Any:
        """`(C,)`, how often each class was seen, on the device."""
        return self._state["counts"] + self._state["carried"] * self._carry

    def add(self, member: Any, features: Any) -> tuple[Any, Any, Any]:
        """Adds a batch.

        Args:
            member: Tensor of shape `(B, C)`, one-hot rows times weights.
            features: Tensor of shape `(B, D)`.

        Returns:
            What was added to the counts, to the sums, and the centred features
            `(B, D)`, in units of `unit`.
        """
        unit = self._widen(features)
        features = features / unit
        across = ops.transpose(member)
        counts = ops.sum(member, axis=0)
        means = ops.matmul(across, features)
        means = means / ops.where(counts == 0, 1.0, counts)[:, None]
        known = self._known(features * unit)
        references = ops.where(
            ops.logical_and(known == 0, counts != 0)[:, None],
            means * unit,
            ops.convert_to_tensor(self._state["references"]),
        )
        residuals = features - self.rows_of(references / unit, member)
        sums = ops.matmul(across, residuals)
        self._state["references"].assign(references)
        self._state["known"].assign(ops.where(counts == 0, known, 1.0))
        self._add_counts(counts)
        self.add_to("sums", sums)
        self.add_squares("", member, residuals)
        return counts, sums, residuals

    def add_squares(self, name: str, member: Any, residuals: Any) -> None:
        """Adds squares and scatter of centred features, under a prefix."""
        weighted = residuals * ops.sum(member, axis=1, keepdims=True)
        squares = ops.matmul(ops.sum(residuals**2, axis=1), member)
        self.add_to(f"{name}squares", squares)
        self.add_to(
            f"{name}scatter", ops.matmul(ops.transpose(weighted), residuals)
        )

    def add_to(self, name: str, value: Any) -> None:
        """Adds a value to one of the sums."""
        self._state[name].assign_add(value)

    def rows_of(self, values: Any, member: Any) -> Any:
        """The rows of `values` `(C, D)` that belong to each example."""
        return ops.take(values, ops.argmax(member, axis=1), axis=0)

    def parts(self) -> list[dict[str, np.ndarray]]:
        """The state of each replica in float64, in units of 1."""
        names, variables = zip(*self._state.items(), strict=True)
        parts = []
        for values in zip(*map(_of_replicas, variables), strict=True):
            part = dict(zip(names, values, strict=True))
            part["counts"] = part["counts"] + self._carry * part["carried"]
            part["sums"] = part["sums"] * part["unit"]
            for name in self._squared:
                part[name] = part[name] * part["unit"] ** 2
            parts.append(part)
        return parts

    def class_statistics(
        self, parts: list[dict[str, np.ndarray]]
    ) -> ClassStatistics | None:
        """The statistics of all replicas, in float64.

        Args:
            parts: What `parts()` returned.

        Returns:
            The statistics, or `None` if a feature was NaN or infinite.

        Raises:
            ValueError: If a label named no class.
        """
        if not all(np.isfinite(part["counts"]).all() for part in parts):
            raise ValueError(
                f"Labels must be integers in 0 .. {self.num_classes - 1}, or "
                "one-hot rows; an example of weight 0 may have any. "
                "Received: a label that names no class, or several."
            )
        if not all(np.isfinite(a).all() for p in parts for a in p.values()):
            return None
        return functools.reduce(ClassStatistics.merge, map(_centered, parts))

    def _known(self, features):
        """Which classes have a reference that serves.

        One of long ago does not, where features have shrunk since: they are
        lost in the rounding of what is centred there.
        """
        references = ops.max(ops.abs(self._state["references"]))
        is_first = ops.sum(self.counts) == 0
        is_lost = ops.max(ops.abs(features)) < _SHRUNK * references
        known = ops.convert_to_tensor(self._state["known"])
        return ops.where(ops.logical_and(is_first, is_lost), 0.0, known)

    def _widen(self, features):
        """Lets the unit grow with the features, and the sums with it."""
        largest = ops.max(ops.abs(features))
        units = ops.cast(_UNITS, self.dtype)
        found = ops.max(ops.where(units <= largest, units, units[0]))
        ordinary = ops.logical_and(
            largest >= _ORDINARY[0], largest <= _ORDINARY[1]
        )
        before = ops.convert_to_tensor(self._state["unit"])
        unit = ops.maximum(before, ops.where(ordinary, 1.0, found))
        factor = before / unit
        self._state["unit"].assign(unit)
        for name, power in [("sums", 1), *((n, 2) for n in self._squared)]:
            variable = self._state[name]
            variable.assign(variable * factor**power)
        return unit

    def _add_counts(self, counts):
        many = ops.floor(counts / self._carry)
        total = self._state["counts"] + (counts - many * self._carry)
        whole = ops.floor(total / self._carry)
        self._state["carried"].assign_add(many + whole)
        self._state["counts"].assign(total - whole * self._carry)


def to_tensor(array: Any, name: str) -> Any:
    """Returns a tensor of what may be one of any backend, or an array.

    Args:
        array: Array of real numbers.
        name: String, what it is called in an error.
    """
    if not hasattr(array, "dtype") or isinstance(array, np.ndarray):
        array = real_array(array, name)
    return ops.convert_to_tensor(array)


def _centered(part):
    counts, sums = part["counts"], part["sums"]
    shifts = sums / np.where(counts == 0, 1.0, counts)[:, None]
    squares = part["squares"] - np.sum(sums * shifts, axis=1)
    return ClassStatistics(
        counts=counts,
        means=part["references"] + shifts,
        squares=np.maximum(squares, 0.0),
        scatter=part["scatter"] - sums.T @ shifts,
    )


def _aggregation(name):
    # What is set from outside is set alike in every replica.
    return "mean" if name in ("references", "known") else "sum"


def _refuse_lost_replicas(variable):
    """Says so of a Keras that has no variables of each replica's own."""
    count = len(_replicas(variable))
    if count > 1 and not hasattr(variable, "synchronization"):
        raise ValueError(
            "Metrics of several replicas need Keras 3.10 or newer; with an "
            "older one what the replicas add up is wrong. Run `pip install "
            f"--upgrade keras`. Received: Keras {keras.__version__} and "
            f"{count} replicas."
        )


def _replicas(variable):
    """The parts of a variable on the replicas of TensorFlow's strategies."""
    parts = getattr(variable.value, "values", None)
    return parts if isinstance(parts, tuple) else (variable,)


def _of_replicas(variable):
    """The values of a variable on each replica."""
    parts = _replicas(variable)
    return [ops.convert_to_numpy(part).astype("float64") for part in parts]
