"""Which of many linear functions is largest, at half of float64's cost."""

import numpy as np

_UNIT = 2.0**-24  # the rounding of float32
_SMALLEST = 2.0**-126  # what is smaller, float32 may take for zero
_SURE = 0.1  # roundings, relative; beyond, float32 decides nothing


class Largest:
    """Finds `argmax_c a_c'h + b_c` as float64 does, mostly in float32.

    However it is summed, a product of D terms in float32 is off by no more
    than `gamma |h| |a_c|`, `gamma = D u / (1 - D u)`, `u = 2^-24`. A value
    that leads by more than twice the bound is the largest; where none does,
    all are computed again in float64.

    Args:
        rows: `a_c`, float64 array of shape `(C, D)`.
        offsets: `b_c`, array of shape `(C,)`, or a number.

    Reference:

    - [Higham, 2002](https://doi.org/10.1137/1.9780898718027), equation 3.5.
    """

    def __init__(self, rows: np.ndarray, offsets: np.ndarray | float):
        self._rows, self._offsets = rows, offsets
        self._single = rows.astype("float32").T
        self._single_offsets = np.asarray(offsets, "float32")
        self._size = np.sqrt(np.einsum("cd,cd->c", rows, rows).max())
        self._offset = np.abs(offsets).max()

    def __call__(
        self, features: np.ndarray, single: np.ndarray, norms: np.ndarray
    ) -> np.ndarray:
        """Returns the `c` of each example, int64 of shape `(n,)`.

        Args:
            features: `h`, float64 array of shape `(n, D)`.
            single: The same in float32.
            norms: `|h|`, array of shape `(n,)`.
        """
        values = single @ self._single
        values += self._single_offsets
        rows = np.arange(len(values))
        largest = np.argmax(values, axis=1)
        lead = values[rows, largest].astype("float64")
        values[rows, largest] = -np.inf
        lead -= values.max(axis=1)
        doubtful = np.flatnonzero(~(lead > 2 * self._bound(norms)))
        if doubtful.size:
            again = features[doubtful] @ self._rows.T + self._offsets
            largest[doubtful] = np.argmax(again, axis=1)
        return largest

    def _bound(self, norms):
        """How far each value may be off, of the roundings of its inputs too."""
        dim = self._rows.shape[1]
        # Two inputs, the offset, and the sum with it are rounded besides.
        share = (dim + 4) * _UNIT
        if share > _SURE:
            return np.full(len(norms), np.inf)
        rounding = share / (1 - share) * (norms * self._size + self._offset)
        return rounding + 2 * dim * _SMALLEST * (1 + norms) * (1 + self._size)
