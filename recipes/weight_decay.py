"""Does the square loss need weight decay to collapse?

    KERAS_BACKEND=jax python -m recipes.weight_decay

Trains one network from one start in four ways: with all weights normalised
and one rho for them, with and without a decay of rho; and as it is, with and
without weight decay of every layer. Measures neural collapse, rho and where
it would rest, the normalised margins, ranks, and the layers inside.

Hardware and time: two CPU cores, five minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class WeightDecay(Study):
    """A network without biases, and how it is trained."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""

    batch_size: int = 64
    """Images in a step."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    learning_rate: float = 0.02
    """Of both networks; it drops by ten after 2/3 and 5/6 of the epochs."""

    momentum: float = 0.9
    """The momentum of SGD."""

    rho_decay: float = 1e-4
    """lambda in the penalty lambda rho^2 of the normalised network."""

    weight_decay: float = 2e-3
    """The decay of the plain network's weights, (decay / 2) ||W||^2."""


STUDY = WeightDecay("weight_decay", per_class=200, epochs=300)

if __name__ == "__main__":
    main(STUDY, __doc__)
