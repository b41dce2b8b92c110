"""Does SGD come to rest?

    KERAS_BACKEND=jax python -m recipes.sgd_noise

Trains one network from one start with mini-batches and with all images in
each step, with and without weight decay, for the same number of steps at a
constant rate, and follows how much the weights change, relative to their
norm, in as many steps as an epoch of mini-batches has.

Hardware and time: two CPU cores, ten minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class SGDNoise(Study):
    """A network without biases, and how it is trained."""

    widths: tuple[int, ...] = (128, 128)
    """Units of each hidden layer."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    batch_size: int = 50
    """Images in a mini-batch."""

    learning_rate: float = 0.05
    """The constant rate of SGD without momentum."""

    weight_decays: tuple[float, ...] = (0.0, 1e-3, 1e-2)
    """Decays w of all weights, the penalty (w / 2) ||W||^2."""


STUDY = SGDNoise("sgd_noise", per_class=100, epochs=600)

if __name__ == "__main__":
    main(STUDY, __doc__)
