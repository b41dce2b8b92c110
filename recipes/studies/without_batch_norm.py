"""Does neural collapse need BatchNorm?

    KERAS_BACKEND=tensorflow python -m recipes.studies.without_batch_norm

Trains a ConvNet past the epoch of zero training error with cross-entropy and
with MSE: with BatchNorm, with filter response normalisation and thresholds
(Singh & Krishnan 2020), and with neither. In the last two, what the network
makes of an example depends on no other example of the batch.

Hardware and time: two CPU cores, ten minutes.
`--dataset fashion_mnist --per-class 100 --learning-rate 0.03` takes other
images.
"""

from __future__ import annotations

import dataclasses
import functools

import keras

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments import variants
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.models.normalization import NORMS


@dataclasses.dataclass(frozen=True)
class WithoutBatchNorm(Study):
    """A network, its losses and normalisations, and the protocol."""

    norms: tuple[str, ...] = ("batch", "frn", "none")
    """Normalisations: batch, frn, none."""

    losses: tuple[str, ...] = ("ce", "mse")
    """Losses: ce, and mse summed over the classes."""

    filters: tuple[int, ...] = (16, 32, 64)
    """Filters of each block of the ConvNet."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.005
    """The rate of SGD, which drops by ten at 1/2 and 3/4 of the epochs."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = WithoutBatchNorm("without_batch_norm", dataset="digits", epochs=250)


def run(study: WithoutBatchNorm) -> None:
    """Trains each network with each loss, and compares them."""
    studies.require_known("losses", study.losses, variants.LOSSES)
    studies.require_known("norms", study.norms, NORMS)
    dataset = studies.load(study)
    settings = ("filters", "learning_rate", "weight_decay")
    curves = variants.train_each(
        study,
        dataset,
        {
            f"{loss}, {norm}": functools.partial(
                _build, study, dataset, loss, norm
            )
            for loss in study.losses
            for norm in study.norms
        },
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in settings},
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    )
    variants.tell(study, curves)


def _build(study, dataset, loss, norm) -> keras.Model:
    network = nc_keras.models.ConvNet(
        dataset.image_shape,
        dataset.num_classes,
        filters=study.filters,
        norm=norm,
    )
    return variants.compiled(study, dataset, network, loss)


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
