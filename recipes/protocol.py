"""The protocol of the papers, as typed data, each fact with its source.

    python -m recipes.protocol

prints all of it. Papyan, Han & Donoho (2020, https://arxiv.org/abs/2008.08186)
train with cross-entropy, Han, Papyan & Donoho (2022,
https://arxiv.org/abs/2106.02073) with the mean squared error.
"""

import dataclasses
import enum
import importlib
from collections.abc import Mapping

import numpy as np

DATASETS = (
    "mnist",
    "fashion_mnist",
    "cifar10",
    "cifar100",
    "svhn_cropped",
    "stl10",
    "imagenet2012",
)

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
        per_class: Training images a class, where the papers balance it.
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
}

# What all datasets share, with how we know it.
SHARED = (
    ("SGD, momentum 0.9", Status.PUBLISHED, NOTEBOOK),
    ("coupled weight decay 5e-4", Status.PUBLISHED, NOTEBOOK),
    ("ImageNet: weight decay 1e-4", Status.TRANSCRIBED, NOTES),
    ("batch 128", Status.PUBLISHED, NOTEBOOK),
    ("ImageNet: batch 256", Status.UNCONFIRMED, ""),
    ("350 epochs, drops at 1/3 and 2/3", Status.PUBLISHED, NOTEBOOK),
    ("ImageNet: 300 epochs", Status.TRANSCRIBED, NOTES),
    ("ImageNet: drops at 1/2 and 3/4", Status.UNCONFIRMED, ""),
    ("the 25 learning rates", Status.TRANSCRIBED, CE_CONFIG),
    ("chosen by the test error of the last epoch", Status.TRANSCRIBED, NOTES),
    ("the 50 measured epochs", Status.PUBLISHED, NOTEBOOK),
    ("pixel-wise standardisation, no augmentation", Status.TRANSCRIBED, NOTES),
    ("VGG: BatchNorm for dropout", Status.TRANSCRIBED, NOTES),
    ("DenseNet: no dropout", Status.TRANSCRIBED, NOTES),
    ("one mean and deviation for each channel", Status.OURS, ""),
    ("ImageNet: torchvision's constants for them", Status.OURS, ""),
    ("28x28 images: a black border of 2", Status.PUBLISHED, NOTEBOOK),
    (
        "incomplete batches are left out of the training",
        Status.PUBLISHED,
        NOTEBOOK,
    ),
    ("3x3 stem without pooling on MNIST", Status.PUBLISHED, NOTEBOOK),
    ("3x3 stem elsewhere, 7x7 from 65 pixels on", Status.OURS, ""),
    ("fixed heads without a bias (Zhu et al. learn one)", Status.OURS, ""),
    ("MNIST 5000, SVHN 4600, ImageNet 600 a class", Status.TRANSCRIBED, NOTES),
    (
        "terminal phase from 99.9 % (ImageNet 99.6 %) training accuracy",
        Status.TRANSCRIBED,
        NOTES,
    ),
)

# What the papers say of all datasets together.
PUBLISHED = (
    Published(
        "CE: gain in test accuracy from zero error to the last epoch, "
        "21 pairs of network and dataset",
        "median 0.35 points, mean 0.50 points",
        f"Table 1 of Papyan et al. 2020, by {NOTES}",
    ),
    Published(
        "CE: gain in DeepFool robustness in the terminal phase",
        "median 0.0252, mean 0.2452",
        f"Figure 8 of Papyan et al. 2020, by {NOTES}",
    ),
    Published(
        "MSE: gain in test accuracy from zero error to the last epoch",
        "median 0.962 points, mean 1.833 points",
        "Han et al. 2022, by a third party's notes",
    ),
    Published(
        "MSE: gain in DeepFool robustness in the terminal phase",
        "median 0.1762, mean 0.9278",
        "Han et al. 2022, by a third party's notes",
    ),
)


def transcribed(**rates: float) -> Network:
    """A network of the MSE paper with its best rates."""
    facts = {
        loss: Fact(rate, Status.TRANSCRIBED, MSE_CONFIG)
        for loss, rate in rates.items()
    }
    return Network(Status.TRANSCRIBED, facts, MSE_CONFIG)


def protocol_of(dataset: str) -> Protocol | None:
    """The protocol of a dataset, or `None` where the papers have none."""
    if dataset not in DATASETS:
        return None
    return importlib.import_module(f"recipes.{dataset}").PROTOCOL


def main() -> None:
    """Prints the protocol."""
    from recipes.consoles import console

    screen = console()
    shared = _table("All datasets", "what", "how we know it")
    for what, status, source in SHARED:
        shared.add_row(what, f"{status.value}: {source}".strip(": "))
    screen.print(shared)
    table = _table("Networks", "dataset", "network", "its depth", "rates")
    for name in DATASETS:
        protocol = protocol_of(name)
        for network, known in protocol.networks.items():
            depth = f"{known.status.value}: {known.source}".strip(": ")
            rates = [f"{loss} {fact}" for loss, fact in known.rates.items()]
            table.add_row(name, network, depth, "; ".join(rates) or "–")
    screen.print(table)
    for fact in PUBLISHED:
        screen.print(f"{fact.what}: {fact.value}. {fact.source}")
    screen.print("The 25 rates:", *(f"{rate:.6g}" for rate in LEARNING_RATES))
    screen.print("The 50 measured epochs:", *MEASURED_EPOCHS)


def _table(title, *headings):
    from rich.table import Table

    table = Table(title=title)
    for heading in headings:
        # An address that is cut is no source.
        table.add_column(heading, overflow="fold")
    return table


if __name__ == "__main__":
    main()
