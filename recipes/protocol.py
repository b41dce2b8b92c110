"""Prints the protocol of the papers, each number with its source.

python -m recipes.protocol
"""

from rich.table import Table

from nc_keras.experiments.console.consoles import console
from nc_keras.experiments.options.protocol import CE_CONFIG
from nc_keras.experiments.options.protocol import LEARNING_RATES
from nc_keras.experiments.options.protocol import MEASURED_EPOCHS
from nc_keras.experiments.options.protocol import NOTEBOOK
from nc_keras.experiments.options.protocol import NOTES
from nc_keras.experiments.options.protocol import Published
from nc_keras.experiments.options.protocol import Status
from recipes.compare import RECIPES

PROTOCOLS = tuple(
    recipe.protocol for recipe in RECIPES.values() if recipe.protocol_epochs
)
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


def main() -> None:
    """Prints the protocol."""
    screen = console()
    shared = _table("All datasets", "what", "how we know it")
    for what, status, source in SHARED:
        shared.add_row(what, f"{status.value}: {source}".strip(": "))
    screen.print(shared)
    table = _table("Networks", "dataset", "network", "its depth", "rates")
    for protocol in PROTOCOLS:
        for network, known in protocol.networks.items():
            depth = f"{known.status.value}: {known.source}".strip(": ")
            rates = [f"{loss} {fact}" for loss, fact in known.rates.items()]
            table.add_row(
                protocol.dataset, network, depth, "; ".join(rates) or "–"
            )
    screen.print(table)
    for fact in PUBLISHED:
        screen.print(f"{fact.what}: {fact.value}. {fact.source}")
    screen.print("The 25 rates:", *(f"{rate:.6g}" for rate in LEARNING_RATES))
    screen.print("The 50 measured epochs:", *MEASURED_EPOCHS)


def _table(title, *headings):
    table = Table(title=title)
    for heading in headings:
        # An address that is cut is no source.
        table.add_column(heading, overflow="fold")
    return table


if __name__ == "__main__":
    main()
