import numpy as np


class Order:
    """The order in which each pass over a dataset takes its records.

    Args:
        positions: The records, `[N]`.
        seed: Shuffles every pass differently; `None` keeps the order.
        finished: The passes that were made before.
    """

    def __init__(
        self,
        positions: np.ndarray,
        seed: int | None = None,
        finished: int = 0,
    ):
        self._positions = positions
        self._seed = seed
        self._finished = finished

    def split(self, batch_size: int) -> list[np.ndarray]:
        """Returns the positions of each batch of the present pass."""
        positions = self._positions
        if self._seed is not None:
            rng = np.random.default_rng((self._seed, self._finished))
            positions = rng.permutation(positions)
        starts = range(batch_size, len(positions), batch_size)
        return np.split(positions, starts)

    def finish(self) -> None:
        """Ends a pass: the next has another order."""
        self._finished += 1

    def num_batches(self, batch_size: int) -> int:
        """Returns the number of batches of a pass, the last one included."""
        return -(-len(self._positions) // batch_size)
