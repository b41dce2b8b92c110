"""Which optimizers bring a network to neural collapse?

    KERAS_BACKEND=jax python -m recipes.studies.optimizers

Trains an MLP past the epoch of zero training error with SGD, Adam and Signum,
each with weight decay in the gradient (coupled) and beside it (decoupled).
NC0, the length of the sum of the head's rows, must vanish if NC2 and NC3 are
reached. Zhao et al. 2026 find that it does with coupled decay, and under
decoupled decay with SGD, but not with AdamW.

Hardware and time: two CPU cores, three minutes.
`--dataset mnist --per-class 500` takes other images.
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

_OURS = nc_keras.optimizers
# For each: the optimizer of a rate and a decay, and the setting of its rate.
OPTIMIZERS = {
    "sgd": (lambda rate, decay: _OURS.SGD(rate, 0.9, decay), "sgd_rate"),
    "sgdw": (
        lambda rate, decay: keras.optimizers.SGD(rate, 0.9, weight_decay=decay),
        "sgd_rate",
    ),
    "adam": (
        lambda rate, decay: _OURS.Adam(rate, weight_decay=decay),
        "adam_rate",
    ),
    "adamw": (
        lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay),
        "adam_rate",
    ),
    "signum": (
        lambda rate, decay: _OURS.Signum(rate, weight_decay=decay),
        "signum_rate",
    ),
    "signumw": (
        lambda rate, decay: _OURS.Signum(
            rate, weight_decay=decay, decoupled=True
        ),
        "signum_rate",
    ),
}
_SHOWN = (*variants.SHOWN, ("NC0", "nc0", 1))


@dataclasses.dataclass(frozen=True)
class Optimizers(Study):
    """A network, and its optimizers."""

    optimizers: tuple[str, ...] = (
        "sgd",
        "sgdw",
        "adam",
        "adamw",
        "signum",
        "signumw",
    )
    """Optimizers: sgd, adam and signum, with coupled decay; sgdw, adamw and
    signumw, with decoupled decay."""

    widths: tuple[int, ...] = (128, 64)
    """Units of each hidden layer."""

    batch_size: int = 50
    """Images in a step."""

    sgd_rate: float = 0.05
    """The rate of both SGD; rates drop by ten at 1/3 and 2/3 of the epochs."""

    adam_rate: float = 0.001
    """The rate of Adam and AdamW."""

    signum_rate: float = 0.0003
    """The rate of both Signum."""

    weight_decay: float = 5e-3
    """The decay where it is coupled."""

    decoupled_decay: float = 0.1
    """The decay where it is not: other than a coupled one, it is multiplied
    by the rate alone."""


STUDY = Optimizers("optimizers", dataset="digits", epochs=200)


def run(study: Optimizers) -> None:
    """Trains with each optimizer, and compares what was reached."""
    studies.require_known("optimizers", study.optimizers, OPTIMIZERS)
    dataset = studies.load(study)
    curves = {}
    for name in study.optimizers:
        rate = getattr(study, OPTIMIZERS[name][1])
        decay = study.weight_decay
        if name.endswith("w"):
            decay = study.decoupled_decay
        curves |= variants.train_each(
            study,
            dataset,
            {
                name: functools.partial(
                    _build, study, dataset, name, rate, decay
                )
            },
            batch_size=study.batch_size,
            settings={"widths": study.widths, "rate": rate, "decay": decay},
            rate_at=functools.partial(_rate_at, study, rate),
        )
    variants.tell(study, curves, _claims(curves), _SHOWN)


def _rate_at(study, rate, epoch):
    return stepped_rate(rate, epoch, study.epochs, (1 / 3, 2 / 3))


def _build(study, dataset, name, rate, decay) -> keras.Model:
    network = nc_keras.models.MLP(
        dataset.image_shape, dataset.num_classes, study.widths
    )
    model = studies.standardized(dataset, network)
    model.compile(
        OPTIMIZERS[name][0](rate, decay),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def _claims(curves):
    """Where NC0 fell to a hundredth of its largest value."""
    claims = []
    for name, rows in curves.items():
        values = [row["nc0"] for row in rows]
        share = values[-1] / max(values)
        fell = "vanishes" if share < 0.01 else "does not vanish"
        claims.append(
            f"{name}: NC0 {fell}: {values[-1]:.3g}, {share:.2g} of its largest "
            "value."
        )
    return claims


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
