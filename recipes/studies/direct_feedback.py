"""Does collapse appear where only the last layer gets its true gradient?

    KERAS_BACKEND=jax python -m recipes.studies.direct_feedback

Trains an MLP past the epoch of zero training error by backpropagation, by
direct feedback alignment (DFA; Nøkland 2016), and with the signs of the
feedback alone, with cross-entropy and MSE. Under DFA the head learns by its
gradient, and each hidden layer by the error of the outputs times a fixed
random matrix.

Hardware and time: two CPU cores, two minutes.
`--dataset fashion_mnist --per-class 500` takes other images.
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

RULES = ("backpropagation", "dfa", "sign")


@dataclasses.dataclass(frozen=True)
class DirectFeedback(Study):
    """A network, its losses, and how errors come to its layers."""

    rules: tuple[str, ...] = RULES
    """How errors come to hidden layers: backpropagation, dfa, sign (dfa with
    the signs of the feedback)."""

    losses: tuple[str, ...] = ("ce", "mse")
    """Losses: ce, and mse summed over the classes."""

    widths: tuple[int, ...] = (128, 128, 64)
    """Units of each hidden layer."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.01
    """The rate of SGD, which drops by ten at 1/2 and 3/4 of the epochs."""

    weight_decay: float = 1e-3
    """Coupled weight decay of every trainable variable."""


STUDY = DirectFeedback("direct_feedback", dataset="digits", epochs=200)


def run(study: DirectFeedback) -> None:
    """Trains by each rule with each loss, and compares them."""
    studies.require_known("rules", study.rules, RULES)
    studies.require_known("losses", study.losses, variants.LOSSES)
    dataset = studies.load(study)
    settings = ("widths", "learning_rate", "weight_decay")
    curves = variants.train_each(
        study,
        dataset,
        {
            f"{loss}, {rule}": functools.partial(
                _build, study, dataset, loss, rule
            )
            for loss in study.losses
            for rule in study.rules
        },
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in settings},
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    )
    variants.tell(study, curves)


def _build(study, dataset, loss, rule) -> keras.Model:
    network = nc_keras.models.MLP(
        dataset.image_shape, dataset.num_classes, study.widths
    )
    if rule != "backpropagation":
        network = nc_keras.models.direct_feedback(
            network, sign=rule == "sign", seed=study.seed
        )
    return variants.compiled(study, dataset, network, loss)


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
