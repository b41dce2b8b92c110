"""Does a real training follow the central path of the MSE loss?

    KERAS_BACKEND=jax python -m recipes.central_path

Trains an MLP with the MSE loss far past the epoch of zero training error,
splits the loss into its parts, records the signal-to-noise singular values of
the features, and lays the closed form of the central path over them, with one
number fitted: how fast its time goes by.
"""

import dataclasses
from typing import Literal

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class CentralPath(Study):
    """A network that is trained with the MSE loss."""

    network: Literal["mlp", "conv_net"] = "mlp"
    """The network, with batch normalisation."""

    widths: tuple[int, ...] = (512, 512, 128)
    """Units of each layer of the mlp, or filters of each block."""

    batch_size: int = 64
    """Images in a step."""

    learning_rate: float = 0.1
    """The learning rate at the beginning."""

    drops: tuple[float, ...] = (0.8,)
    """After which shares of the epochs the rate drops to a tenth."""

    momentum: float = 0.9
    """Momentum of the optimizer."""

    weight_decay: float = 1e-5
    """Weight decay of all weights, coupled as in the papers."""


STUDY = CentralPath("central_path", per_class=1000, epochs=100)

if __name__ == "__main__":
    main(STUDY, __doc__)
