import os
from typing import get_args

import numpy as np

from nc_keras.experiments.options.remainder import Remainder


class Order:
    """The order in which each pass over a dataset takes its records.

    N records rarely make whole batches. What is left over is dropped, as in
    the authors' notebook: a last batch of three images would go through batch
    normalisation right before the measurement. Each pass has another order,
    so that all records are used.

    Args:
        positions: The records, `[N]`.
        seed: Shuffles every pass differently; `None` keeps the order.
        finished: The passes that were made before.
        remainder: What becomes of the `N % batch_size` records that fill no
            batch: `"drop"` leaves them out of the pass, `"keep"` makes a
            smaller batch of them, `"spread"` shares them out among the other
            batches.
    """

    def __init__(
        self,
        positions: np.ndarray,
        seed: int | None = None,
        finished: int = 0,
        remainder: Remainder = "keep",
    ):
        if remainder not in get_args(Remainder):
            raise ValueError(
                f"`remainder` must be one of {get_args(Remainder)}. "
                f"Received: remainder={remainder!r}."
            )
        self._positions = positions
        self._seed = seed
        self._finished = finished
        self._remainder = remainder

    def split(self, batch_size: int) -> list[np.ndarray]:
        """Returns the positions of each batch of the present pass."""
        positions = self._positions
        count = self.num_batches(batch_size)
        if self._seed is not None:
            rng = np.random.default_rng((self._seed, self._finished))
            positions = rng.permutation(positions)
        if self._remainder == "spread":
            return np.array_split(positions, count)
        starts = range(batch_size, len(positions), batch_size)
        return np.split(positions, starts)[:count]

    def finish(self) -> None:
        """Ends a pass: the next has another order."""
        self._finished += 1

    def num_batches(self, batch_size: int) -> int:
        """Returns the number of batches of a pass.

        Raises:
            ValueError: If a batch has no records, or more than there are and
                the remainder is not kept.
        """
        if batch_size < 1:
            raise ValueError(
                "`batch_size` must be positive. "
                f"Received: batch_size={batch_size}."
            )
        if self._remainder == "keep":
            return -(-len(self._positions) // batch_size)
        if batch_size > len(self._positions):
            raise ValueError(
                f"There are {len(self._positions):,} training images. Choose "
                f"a smaller batch. Received: batch_size={batch_size}."
            )
        return len(self._positions) // batch_size


def num_threads() -> int:
    """Returns how many threads read: each keeps a batch in memory."""
    return min(16, os.cpu_count() or 1)
