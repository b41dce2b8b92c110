"""Which linear function is largest at examples near their class mean."""

import numpy as np

from nc_keras.blas import one_thread_for

_UNIT = 2.0**-53  # the rounding of float64
_CLOSE = 1e-6  # of a radius, that is left out for the roundings at an example
_PRODUCTS = 2**22  # of class means and rows that are in memory at a time
_WAIT = 8  # examples per class, until which radii take longer than they save
_TRIAL = 4096  # examples of which enough must be near, or no more are tried
_ENOUGH = 0.5


class NearMeans:
    """Decides for examples near their class mean, without a product.

    The largest of linear functions `f_c(h) = a_c'h + b_c` at a class mean
    `mu`, `f_k`, is the largest wherever
    `||h - mu|| < min_c (f_k(mu) - f_c(mu)) / ||a_k - a_c||`. In the terminal
    phase that is true of nearly all examples, of the decisions of the head
    and of the nearest class means: there `f_c(h)` is `mu_c'h - ||mu_c||^2 / 2`
    and the radius half the distance to the next mean.

    Args:
        means: Array of shape `(C, D)`; NaN for a class without examples.
        rows: `a_c`, float64 array of shape `(C', D)`.
        offsets: `b_c`, array of shape `(C',)`, or a number.
    """

    def __init__(
        self, means: np.ndarray, rows: np.ndarray, offsets: np.ndarray | float
    ):
        self._means, self._rows, self._offsets = means, rows, offsets
        self._seen = self._asked = self._found = 0
        self._largest = np.empty(0, "int64")
        self._radii = np.empty(0)

    def is_worth_it(self, examples: int) -> bool:
        """Whether to ask about so many more examples."""
        self._seen += examples
        if self._asked >= _TRIAL and self._found < _ENOUGH * self._asked:
            return False
        if not self._radii.size and self._seen >= _WAIT * len(self._means):
            self._prepare()
        return bool(self._radii.size)

    def __call__(self, labels: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Returns the `c` of each example, or -1 where it is not near.

        Args:
            labels: Integer array of shape `(n,)`.
            distances: `||h - mu_y||`, array of shape `(n,)`.
        """
        near = distances < self._radii[labels]
        self._asked += len(near)
        self._found += int(np.count_nonzero(near))
        return np.where(near, self._largest[labels], -1)

    def _prepare(self):
        rows, dim = self._rows, self._rows.shape[1]
        squares = np.einsum("cd,cd->c", rows, rows)
        size = np.sqrt(squares.max())
        rounding = 4 * (dim + 4) * _UNIT
        parts, step = [], max(1, _PRODUCTS // len(rows))
        for start in range(0, len(self._means), step):
            means = self._means[start : start + step]
            with one_thread_for(means.size * len(rows)):
                leads = means @ rows.T
                leads += self._offsets
                largest = np.argmax(leads, axis=1)
                apart = rows[largest] @ rows.T
            each = np.arange(len(means))
            leads = leads[each, largest][:, None] - leads
            apart *= -2
            apart += squares[largest][:, None] + squares
            # What roundings may have made of it, in favour of the example.
            norms = np.linalg.norm(means, axis=1)
            lost = size * norms + np.abs(self._offsets).max()
            leads -= rounding * lost[:, None]
            apart = np.sqrt(np.maximum(apart, 0) + rounding * size**2)
            leads[each, largest] = np.inf
            parts.append((largest, np.min(leads / apart, axis=1)))
        both = zip(*parts, strict=True)
        self._largest, radii = (np.concatenate(part) for part in both)
        self._radii = (1 - _CLOSE) * radii
