"""Do small batches, large rates and decay leave weights of low rank?

    KERAS_BACKEND=jax python -m recipes.low_rank

Trains a grid of batch sizes, learning rates and weight decays, all from one
start and for the same number of steps, so many that with any of the decays
little is left of the initial weights, and reads the ranks of the weights at
the end: how many singular values exceed a share of the Frobenius norm, and
the stable rank. Beside them are the rank that the theory allows, and the share
`(1 - rate * decay)^steps` of the initial weights that is left.

Hardware and time: two CPU cores, ten minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class LowRank(Study):
    """A network without biases, and the grid."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    batch_sizes: tuple[int, ...] = (8, 32, 128)
    """Images in a step."""

    learning_rates: tuple[float, ...] = (0.05, 0.1)
    """Constant rates of SGD without momentum, as in the authors' code."""

    weight_decays: tuple[float, ...] = (0.0, 0.01, 0.02)
    """Decays w of all weights, the penalty (w / 2) ||W||^2."""

    tolerance: float = 0.01
    """A singular value counts above this share of the Frobenius norm."""

    steps: int = 12_000
    """Steps of every training, shared out among the epochs."""


STUDY = LowRank("low_rank", per_class=200, epochs=20)

if __name__ == "__main__":
    main(STUDY, __doc__)
