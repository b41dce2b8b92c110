"""The protocol of the papers, as typed data, each fact with its source.

Papyan, Han & Donoho (2020, https://arxiv.org/abs/2008.08186)
train with cross-entropy, Han, Papyan & Donoho (2022,
https://arxiv.org/abs/2106.02073) with the mean squared error.
"""

import dataclasses
import enum
from collections.abc import Mapping

import numpy as np

NOTEBOOK = "the authors' notebook, github.com/neuralcollapse/neuralcollapse"
NOTES = "a third party's reading notes on arXiv 2008.08186v2"
MSE_CONFIG = (
    "matrix_papyan_mseloss.yaml of github.com/mariuslindegaard/"
    "Intermediate_Neural_Collapse, a transcription of Han et al. 2022"
)
CE_CONFIG = MSE_CONFIG.replace("mseloss", "celoss").replace(
    "Han et al. 2022", "Papyan et al. 2020"
)
REPRODUCTION = (
    "train.py of github.com/malashinroman/neuronal_collapse, a reproduction"
)


class Status(enum.Enum):
    """How a fact came to us; only the first two count as published."""

    PUBLISHED = "published"
    TRANSCRIBED = "as others transcribe it"
    UNCONFIRMED = "not confirmed by a source that we could read"
    OURS = "our choice"


@dataclasses.dataclass(frozen=True)
class Fact:
    """A value with its source."""

    value: float
    status: Status
    source: str = ""

    def __str__(self) -> str:
        where = f": {self.source}" if self.source else ""
        return f"{self.value:g} ({self.status.value}{where})"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that the papers train on a dataset.

    Attributes:
        status: How we know that one of the two papers took this depth. From
            `MSE_CONFIG` it is the MSE's; that the other paper did is then not
            confirmed.
        rates: For each loss the best learning rate that is known.
        source: Where the depth is from.
    """

    status: Status = Status.UNCONFIRMED
    rates: Mapping[str, Fact] = dataclasses.field(default_factory=dict)
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Published:
    """A number that others report, kept apart from ours."""

    what: str
    value: str
    source: str


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the papers train on one dataset.

    Attributes:
        dataset: The name that tensorflow-datasets has for it.
        network: The network of the recipe.
        networks: What the papers train, by name.
        per_class: Training images per class, where the papers balance it.
        epochs: Passes over the training images.
        drops: At which shares of the epochs the rate drops by ten.
        batch_size: Images in a step.
        momentum: Of SGD.
        weight_decay: Coupled, of every trainable variable.
        threshold: The training accuracy at which the terminal phase begins;
            less than 1 because some labels are wrong.
        published: What others report on this dataset.
    """

    dataset: str
    network: str
    networks: Mapping[str, Network]
    per_class: int | None = None
    epochs: int = 350
    drops: tuple[float, ...] = (1 / 3, 2 / 3)
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threshold: float = 0.999
    published: tuple[Published, ...] = ()

    def rate(self, network: str, loss: str) -> Fact:
        """The best learning rate that is known, or the one that we take."""
        known = self.networks.get(network, Network()).rates
        return known.get(loss) or DEFAULT_RATES[loss]


# The grid that the papers choose the rate from: the one with the lowest test
# error at the last epoch. It meets each known best rate to seven digits.
LEARNING_RATES = tuple(
    float(rate) for rate in np.logspace(np.log10(1e-4), np.log10(0.25), 25)
)
# The 50 epochs of 350 at which the papers measure.
MEASURED_EPOCHS = (
    *range(1, 15),
    *(16, 17, 19, 20, 22, 24, 27, 29, 32, 35, 38, 42, 45, 50, 54, 59, 65, 71),
    *(77, 85, 92, 101, 110, 121, 132, 144, 158, 172, 188, 206, 225, 245, 268),
    *(293, 320, 350),
)

# Where no best rate is known: MNIST's of either loss. The rescaled square loss
# has M = 15, so that its gradients are of another size.
DEFAULT_RATES = {
    "ce": Fact(LEARNING_RATES[20], Status.OURS, "MNIST's, for want of its own"),
    "mse": Fact(
        LEARNING_RATES[16], Status.OURS, "MNIST's, for want of its own"
    ),
    "rescaled_square": Fact(LEARNING_RATES[8], Status.OURS),
    # With features of length 1, gradients are small.
    "ldam": Fact(LEARNING_RATES[24], Status.OURS),
    "dot_regression": Fact(1.0, Status.OURS),
}


def transcribed(**rates: float) -> Network:
    """A network of the MSE paper with its best rates."""
    facts = {
        loss: Fact(rate, Status.TRANSCRIBED, MSE_CONFIG)
        for loss, rate in rates.items()
    }
    return Network(Status.TRANSCRIBED, facts, MSE_CONFIG)
