"""A bound with its factors, and bounds beside one another, as tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

_WIDTH = 80
_NAME = 26  # columns of a name
_CELL = 13  # columns of a number
_BARS = 4  # marks for a factor of ten
_MOST = _WIDTH - _NAME - _CELL - 10


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """A bound on a generalisation gap, which prints as a table.

    Attributes:
        name: String, which of the bounds it is.
        model: String, the name of the model.
        examples: Integer, `m`.
        classes: Integer, `k`.
        delta: Float, the bound fails with at most this probability.
        norms: Dictionary from names of layers to their norms, those that the
            bound has in it.
        factors: Dictionary from names to floats, the factors of `product`.
        confidence: Float, the term that is added to the product.
        notes: Tuple of strings, what to know beside the numbers.

    Args:
        name: See the attributes; so for the other arguments.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> bound = bounds.convolutional(model, np.ones((5, 8, 8, 1)))
    >>> print(np.prod(list(bound.factors.values())) == bound.product)
    True
    >>> print(bound.value == bound.product + bound.confidence)
    True
    """

    name: str
    model: str
    examples: int
    classes: int
    delta: float
    norms: Mapping[str, float]
    factors: Mapping[str, float]
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def product(self) -> float:
        """The product of the factors; infinity if a float cannot hold it."""
        return math.prod(self.factors.values())

    @property
    def value(self) -> float:
        """The bound: the product and the confidence term."""
        return self.product + self.confidence

    @property
    def is_vacuous(self) -> bool:
        """Whether the bound is above one, where it says nothing."""
        return not self.value <= 1

    @property
    def examples_needed(self) -> float:
        """About how many examples would make it one, were the rest as it is.

        Norms of inputs grow as the root of the number of examples, so that
        the bound falls as its inverse.
        """
        return self.examples * self.value**2

    def __str__(self) -> str:
        lines = [
            f"{self.name} bound of {self.model!r}: {self.examples:,} examples,"
            f" {self.classes:,} classes, delta {self.delta:g}",
            "",
            "norms of the layers".ljust(_NAME) + "value".rjust(_CELL)
            + "log10".rjust(8),
            *(_row(f"  {name}", value) for name, value in self.norms.items()),
            "factors",
            *(_row(f"  {name}", v) for name, v in self.factors.items()),
            _row("product", self.product),
            _row("confidence, added", self.confidence),
            _row("bound", self.value),
            "",
            *(self._verdict(), *self.notes),
        ]  # fmt: skip
        return "\n".join(line.rstrip() for line in lines)

    def _verdict(self):
        if not self.is_vacuous:
            return "Not vacuous: errors above the bound are ruled out."
        most = max(self.factors, key=self.factors.get)
        return (
            f"Vacuous, since no error is above 1. Largest factor: {most}.\n"
            "With the same norms it would be 1 from about "
            f"{self.examples_needed:.1g} examples on."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Bounds beside one another, and what they bound.

    Attributes:
        bounds: Dictionary from names to `Bound`s.
        measured: Dictionary with `training_error` and `margin_error` (outputs
            that exceed the others by no more than one), `test_error` and
            `gap`, as far as there were labels.

    Args:
        bounds: As above, and so is the other.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> comparison = bounds.compare(model, np.ones((5, 8, 8, 1)))
    >>> list(comparison.bounds)
    ['convolutional', 'positions', 'dense', 'spectral']
    """

    bounds: Mapping[str, Bound]
    measured: Mapping[str, float]

    @property
    def orders_of_magnitude(self) -> float:
        """By how many the convolutional bound is below the dense one."""
        bounds = self.bounds
        ratio = bounds["dense"].value / bounds["convolutional"].value
        return _log10(ratio)

    def __str__(self) -> str:
        bounds = list(self.bounds.values())
        first = bounds[0]
        title = (
            f"Generalisation bounds of {first.model!r}: {first.examples:,} "
            f"examples, {first.classes:,} classes"
        )
        lines = [title, "", _cells("", self.bounds), "norms of the layers"]
        lines += _union([bound.norms for bound in bounds])
        lines += ["factors", *_union([bound.factors for bound in bounds])]
        for name, values in {
            "product": [bound.product for bound in bounds],
            "confidence, added": [bound.confidence for bound in bounds],
            "bound": [bound.value for bound in bounds],
            "log10": [_log10(bound.value) for bound in bounds],
        }.items():
            lines.append(_cells(name, map(_number, values)))
        vacuous = ["yes" if b.is_vacuous else "no" for b in bounds]
        lines += [_cells("vacuous (above 1)", vacuous), "", *self._words()]
        return "\n".join(line.rstrip() for line in lines)

    def _words(self):
        yield (
            "The convolutional bound is "
            f"{self.orders_of_magnitude:.1f} orders of magnitude below the "
            "dense one."
        )
        words = [
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in self.measured.items()
        ]
        if words:
            yield f"Measured: {', '.join(words)}."
            yield "test error <= margin error + bound, if the bound holds."


def _log10(value):
    if not 0 < value < math.inf:
        return math.inf if value else -math.inf
    return math.log10(value)


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _row(name, value):
    """A name, a value and its decades, as a number and as marks."""
    decades = _log10(value)
    marks = min(_MOST, abs(decades) * _BARS) if value else _MOST
    bar = ("+" if decades > 0 else "-") * round(marks)
    return (
        f"{_short(name):{_NAME}}{_number(value):>{_CELL}}{decades:8.2f}  {bar}"
    )


def _short(name):
    return name if len(name) < _NAME else f"{name[: _NAME - 4]}..."


def _cells(name, values):
    return f"{_short(name):{_NAME}}" + "".join(f"{v:>{_CELL}}" for v in values)


def _union(columns):
    """Rows for the names of all columns."""
    # The longest column first, whose order the others share.
    ordered = sorted(columns, key=len, reverse=True)
    names = dict.fromkeys(name for column in ordered for name in column)
    for name in names:
        values = [_number(column.get(name)) for column in columns]
        yield _cells(f"  {name}", values)
