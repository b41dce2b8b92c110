"""Do unconstrained features reach the minimisers that theory predicts?

    python -m recipes.unconstrained_features

Trains a linear head on features that are free parameters, with every loss
whose minimiser is known, and prints what was predicted above what was reached:
cross-entropy, with label smoothing, the focal loss, the MSE loss without, with
a free and with a decayed bias, and a decay so strong that zero wins.

Hardware and time: two CPU cores, a minute or two.
What to expect is in docs/results.md.
"""

import dataclasses
import pathlib

import tyro

from recipes.study import Study
from recipes.study import main


@dataclasses.dataclass(frozen=True)
class UnconstrainedFeatures(Study):
    """A head on features that are free parameters, one for each example."""

    dataset: tyro.conf.Suppress[str] = "none"
    per_class: tyro.conf.Suppress[int | None] = None
    test_images: tyro.conf.Suppress[int | None] = None
    data_dir: tyro.conf.Suppress[pathlib.Path] = pathlib.Path("data")

    seed: int = 0
    """Seeds the initial features and heads."""

    epochs: int = 60
    """How often the distance is measured along each training."""

    steps: int = 50
    """Steps between two measurements, each with all examples."""

    classes: int = 10
    """The number of classes, K."""

    examples: int = 10
    """Examples of each class, n."""

    dim: int = 16
    """The dimension of the features, d, at least K."""

    weight_decay: float = 1e-2
    """Weight decay of the head's kernel, positive."""

    feature_decay: float = 5e-4
    """Weight decay of the features, positive."""

    bias_decay: float = 0.2
    """Weight decay of the head's bias where it is not free, positive."""

    label_smoothing: float = 0.1
    """The smoothing of the labels."""

    gamma: float = 3.0
    """The exponent of the focal loss."""

    learning_rate: float = 0.5
    """The learning rate."""

    momentum: float = 0.95
    """Momentum of the optimizer."""

    def __post_init__(self):
        super().__post_init__()
        if self.dim < self.classes:
            raise ValueError(
                "`dim` must be at least `classes`. "
                f"Received: dim={self.dim}, classes={self.classes}."
            )


STUDY = UnconstrainedFeatures("unconstrained_features")

if __name__ == "__main__":
    main(STUDY, __doc__)
