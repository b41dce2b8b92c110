"""Minority collapse in a convolutional network, and oversampling against it.

    KERAS_BACKEND=tensorflow python -m recipes.studies.minority_networks

Trains a ConvNet by the protocol of Fang et al. 2021, scaled down, on
Fashion-MNIST of which the last classes are rare: for each ratio, up to rare
classes without any image, and once more with the rare images repeated within
each pass. Draws the cosine between the classifiers of rare classes beside what
the theory of unconstrained features says at the decay that the network has
by itself, for features of any sign and for those after a ReLU; and prints the
test accuracy of frequent and rare classes.

The head has no bias, as in the theory. The network is smaller than the paper's,
and sees fewer images, for fewer epochs, in smaller batches; how far the
training error has vanished is in the table.

Hardware and time: two CPU cores, ten minutes.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import keras
import numpy as np
from matplotlib.figure import Figure

import nc_keras
from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments import datasets
from nc_keras.experiments import studies
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.theory import unconstrained_features

_MEASURED = {
    "cosine, rare": "cosine_minority_weights",
    "cosine, frequent": "cosine_majority_weights",
    "train accuracy": "nc_accuracy",
    "test accuracy, frequent": "val_accuracy_majority",
    "test accuracy, rare": "val_accuracy_minority",
    "nc1": "nc1",
}
# At how many epochs: what counts is the last.
_MEASUREMENTS = 8
_TAGS = (
    *("nc1", "accuracy", "accuracy_majority", "accuracy_minority"),
    *("cosine_majority_weights", "cosine_minority_weights", "ufm_decay"),
)


@dataclasses.dataclass(frozen=True)
class MinorityNetworks(Study):
    """A network, its classes, and the protocol."""

    ratios: tuple[float, ...] = (1.0, 10.0, 100.0, math.inf)
    """Images of a frequent class for one of a rare class; inf for none."""

    minority: int = 5
    """How many of the last classes are rare."""

    oversample: int = 100
    """How often a rare image comes in a pass, in one more training at the
    largest finite ratio; 0 for none."""

    filters: tuple[int, ...] = (16, 32, 64)
    """Filters of each block of the ConvNet."""

    batch_size: int = 32
    """Images in a step."""

    learning_rate: float = 0.1
    """The rate of SGD, which drops by ten at 1/3 and 2/3 of the epochs."""

    momentum: float = 0.9
    """The momentum of SGD."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = MinorityNetworks(
    "minority_networks", per_class=100, test_images=2000, epochs=60
)


def run(study: MinorityNetworks) -> None:
    """Trains each network, prints a table, and draws the cosines."""
    _validate(study)
    points = [_point(study, ratio) for ratio in study.ratios]
    finite = [ratio for ratio in study.ratios if ratio < math.inf]
    if study.oversample and finite:
        points.append(_point(study, max(finite), study.oversample))
    rows = [_row(point) for point in points]
    studies.print_table("At the last epoch", rows, across=True)
    claims = _claims(points)
    for sentence in claims:
        print(f"• {sentence}")
    studies.finish(
        study,
        {"table": rows, "verdict": claims, "points": points},
        functools.partial(_draw, points),
        (8.0, 3.6),
    )


def _validate(study):
    if not study.ratios or list(study.ratios) != sorted(set(study.ratios)):
        raise ValueError(
            "`ratios` must rise, and there must be one. "
            f"Received: ratios={study.ratios}."
        )


def _point(study, ratio, oversample=0):
    """One training, what was measured of it, and what is predicted."""
    dataset = datasets.imbalance(
        studies.load(study), "step", ratio, study.minority
    )
    counts = np.bincount(dataset.y_train, minlength=dataset.num_classes)
    name = f"ratio-{ratio:g}"
    if oversample:
        dataset = datasets.oversample(dataset, oversample)
        name += f"-oversampled-{oversample}"
        # What a pass holds is what the loss is the mean of.
        counts = np.bincount(
            dataset.y_train[dataset.pass_positions],
            minlength=dataset.num_classes,
        )
    settings = ("filters", "learning_rate", "momentum", "weight_decay")
    _, logs = studies.train(
        study,
        name,
        functools.partial(_build, study, dataset),
        dataset,
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in settings}
        | {"minority": study.minority, "oversample": oversample},
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 3, 2 / 3)
        ),
        measured=log_spaced_epochs(study.epochs, _MEASUREMENTS),
        metrics=_TAGS,
    )
    last = studies.last_measured(logs)
    found = {title: last.get(key) for title, key in _MEASURED.items()}
    if ratio == 1:
        # None is rare: all are as the frequent ones.
        for what in ("cosine", "test accuracy"):
            found[f"{what}, rare"] = found[f"{what}, frequent"]
    decay = None if oversample else last.get("ufm_decay")
    return {
        # JSON has no infinity.
        "ratio": f"{ratio:g}",
        "oversample": oversample,
        "counts": counts.tolist(),
        "measured": found,
        "own decay": decay,
        "predicted": _predicted(counts, decay, relu=False),
        "predicted after a ReLU": _predicted(counts, decay, relu=True),
    }


def _build(study, dataset) -> keras.Model:
    network = nc_keras.models.ConvNet(
        dataset.image_shape,
        dataset.num_classes,
        filters=study.filters,
        head=keras.layers.Dense(
            dataset.num_classes, use_bias=False, name="head"
        ),
    )
    model = studies.standardized(dataset, network)
    model.compile(
        nc_keras.optimizers.SGD(
            study.learning_rate, study.momentum, study.weight_decay
        ),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def _predicted(counts, decay, relu):
    """The cosine between rare classifiers at a decay, where there is one."""
    has_rare = 0 < counts.min() < counts.max()
    if not has_rare or not decay or not decay > 0:
        return None
    best = unconstrained_features.cross_entropy(
        len(counts), counts.tolist(), decay, decay, relu=relu
    )
    cosine = best.weight_cosines[-1, -1]
    return float(cosine) if math.isfinite(cosine) else None


def _name(point):
    often = f", rare images {point['oversample']} times"
    return f"ratio {point['ratio']}{often if point['oversample'] else ''}"


def _row(point):
    return {
        "": _name(point),
        **point["measured"],
        "own decay": point["own decay"],
        "cosine, rare, predicted": point["predicted"],
        "after a ReLU": point["predicted after a ReLU"],
    }


def _claims(points):
    """What the paper says of these trainings, and whether it was seen."""
    plain = [one for one in points if not one["oversample"]]
    cosines = [one["measured"]["cosine, rare"] for one in plain]
    rare = [one["measured"]["test accuracy, rare"] for one in plain]
    claims = []
    if len(plain) > 1:
        claims = [
            _claim(
                "the cosine between rare classifiers rises with the ratio",
                cosines,
                _rises(cosines),
            ),
            _claim(
                "the test accuracy of rare classes falls with the ratio",
                rare,
                _rises(rare[::-1]),
            ),
        ]
    for point in points:
        if point["oversample"]:
            before = next(
                one for one in plain if one["ratio"] == point["ratio"]
            )
            pair = [one["measured"]["cosine, rare"] for one in (before, point)]
            claims.append(
                _claim(
                    "oversampling brings rare classifiers apart",
                    pair,
                    pair[1] < pair[0],
                )
            )
    return claims


def _rises(values):
    known = [one for one in values if one is not None]
    return known == sorted(known)


def _claim(what, values, is_seen):
    numbers = ", ".join("–" if v is None else f"{v:.3f}" for v in values)
    return f"{what} ({numbers}): {'agreed' if is_seen else 'not agreed'}."


def _draw(points, figure: Figure):
    axes = figure.subplots(1, 2)
    plain = [one for one in points if not one["oversample"]]
    places = list(range(len(plain)))
    lines = {
        "trained": [one["measured"]["cosine, rare"] for one in plain],
        "predicted": [one["predicted"] for one in plain],
        "predicted, after a ReLU": [
            one["predicted after a ReLU"] for one in plain
        ],
    }
    for (label, values), color, style in zip(
        lines.items(), COLORS, ("o-", "s:", "^:"), strict=False
    ):
        values = [math.nan if one is None else one for one in values]
        axes[0].plot(places, values, style, color=color, label=label)
    axes[0].set_title("cosine between rare classifiers")
    for key, color in zip(
        ("test accuracy, frequent", "test accuracy, rare"), COLORS, strict=False
    ):
        values = [one["measured"][key] for one in plain]
        values = [math.nan if one is None else one for one in values]
        axes[1].plot(places, values, "o-", color=color, label=key)
    for point in points:
        if point["oversample"]:
            where = [one["ratio"] for one in plain].index(point["ratio"])
            found = point["measured"]
            axes[0].plot(
                *(where, found["cosine, rare"], "*"),
                color=COLORS[0],
                label="trained, oversampled",
            )
            axes[1].plot(
                *(where, found["test accuracy, rare"], "*"),
                color=COLORS[1],
                label="rare, oversampled",
            )
    axes[1].set_title("test accuracy")
    for axis in axes:
        axis.set_xticks(places, [one["ratio"] for one in plain])
        axis.set_xlabel("images of a frequent class for one of a rare class")
        axis.grid(True)
        axis.legend()


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
