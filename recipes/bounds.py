"""How far are generalisation bounds from what networks really do?

    KERAS_BACKEND=jax python -m recipes.bounds

Trains convolutional networks of several widths with the MSE loss, their
convolutions weight-normalised, and follows three norm-based bounds on the
generalisation gap along the training: by the norms of the filters (Galanti et
al. 2023), by those of the matrices that convolutions are (Golowich et al.
2018), and by parameters and spectral norms (Long & Sedghi 2020). Prints them
factor by factor: a bound above 1 says nothing, and a reader sees why.

Batch 32, rate 0.01, momentum 0.9 and decay 3e-3 are those of the authors'
README; epochs, stride and widths are smaller: CONV-3-H of 2x2 filters with
stride 2, and Fashion-MNIST instead of MNIST.

Hardware and time: two CPU cores; 20 minutes while other work kept them busy.
What to expect is in docs/results.md.
"""

import dataclasses

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class Bounds(Study):
    """Networks of several widths, CONV-L-H."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Filters of each convolution, H: one network for each."""

    depth: int = 3
    """Convolutions of each network, L."""

    kernel_size: int = 2
    """Height and width of the filters."""

    strides: int = 2
    """Their stride."""

    batch_size: int = 32
    """Images in a step."""

    learning_rate: float = 0.01
    """The learning rate at the beginning."""

    drops: tuple[float, ...] = (0.75,)
    """After which shares of the epochs the rate drops to a tenth."""

    momentum: float = 0.9
    """Momentum of the optimizer."""

    weight_decay: float = 3e-3
    """Weight decay of all weights, coupled as in PyTorch."""

    def __post_init__(self):
        super().__post_init__()
        if not self.widths:
            raise ValueError("`widths` needs one. Received: widths=().")


STUDY = Bounds("bounds", epochs=8)

if __name__ == "__main__":
    main(STUDY, __doc__)
