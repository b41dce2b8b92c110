"""Does a real training follow the central path of the MSE loss?

    KERAS_BACKEND=jax python -m recipes.central_path

Trains an MLP with the MSE loss past the epoch of zero training error, on 1,000
images a class of Fashion-MNIST, splits the loss into its parts, and records
the signal-to-noise singular values of the features. Over them it lays the
closed form of the central path, with one number fitted: how fast its time goes
by. Prepare the images with `python tools/prepare_dataset.py fashion_mnist`;
`--dataset digits --per-class 100` needs none.

Hardware and time: two CPU cores, under three minutes on JAX.
What to expect is in docs/results.md.
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

    widths: tuple[int, ...] | None = None
    """Units of each layer of the mlp, or filters of each block of conv_net.
    Defaults to 512 512 128, and 32 64 128."""

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

    def __post_init__(self):
        super().__post_init__()
        if not self.learning_rate > 0:
            raise ValueError(
                "`learning_rate` must be positive. "
                f"Received: learning_rate={self.learning_rate}."
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths, or those that the network has by default."""
        default = {"mlp": (512, 512, 128), "conv_net": (32, 64, 128)}
        return self.widths or default[self.network]


STUDY = CentralPath("central_path", per_class=1000, epochs=100)

if __name__ == "__main__":
    main(STUDY, __doc__)
