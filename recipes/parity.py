"""Are these the numbers that the authors' notebook draws?

    python tools/prepare_dataset.py mnist --archives DIR
    python -m recipes.parity

Trains a small MLP on 1,200 MNIST images per class with cross-entropy and with
the MSE loss, and computes neural collapse twice from the same features: as
this library does, and by the formulas of the notebook of Papyan, Han and
Donoho (github.com/neuralcollapse/neuralcollapse), in float32, with loops over
classes and D x D matrices, as it has them.

Hardware and time: two CPU cores, a minute. What to expect is in
docs/results.md.
"""

import dataclasses

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class Parity(Study):
    """A network with batch normalisation, and how it is trained."""

    widths: tuple[int, ...] = (256, 128)
    """Units of each hidden layer."""

    batch_size: int = 128
    """Images in a step."""

    learning_rate: float = 0.05
    """The constant learning rate."""

    momentum: float = 0.9
    """The momentum of SGD."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = Parity("parity", dataset="mnist", per_class=1200, epochs=12)

if __name__ == "__main__":
    main(STUDY, __doc__)
