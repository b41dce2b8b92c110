"""What do the codes of a ReLU network know, and are they all different?

    KERAS_BACKEND=jax python -m recipes.studies.neural_codes

Trains MLPs of growing width past the epoch of zero training error, and takes
the codes of images: which units are on (He et al. 2021). Prints how redundant
they are, how well K-means, nearest neighbours and logistic regression tell the
classes apart by them, and NC4 of the features beside.

Hardware and time: two CPU cores, two minutes.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments import variants
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class NeuralCodes(Study):
    """Networks of one hidden layer, and how their codes are judged."""

    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    """Units of the hidden layer, for each network."""

    neighbors: int = 9
    """Neighbours that decide, by the number of units that differ."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.05
    """The rate of SGD, which drops by ten at 1/2 and 3/4 of the epochs."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = NeuralCodes("neural_codes", per_class=500, test_images=2000, epochs=60)
_COLUMNS = ("K-means, %", "neighbours, %", "logistic regression, %")


def run(study: NeuralCodes) -> None:
    """Trains each network, and judges its codes."""
    if not study.widths or min(study.widths) < 1:
        raise ValueError(
            "`widths` must be positive, and there must be one. "
            f"Received: widths={study.widths}."
        )
    dataset = studies.load(study)
    rows = [_row(study, dataset, width) for width in study.widths]
    studies.print_table(
        f"{study.dataset}: codes of test images, decided by those of training "
        "images",
        rows,
    )
    claims = _claims(rows)
    for sentence in claims:
        print(f"• {sentence}")
    studies.finish(
        study,
        {"table": rows, "verdict": claims},
        functools.partial(_draw, rows),
        (8.0, 3.6),
    )


def _row(study, dataset, width):
    """The codes of one network at its last epoch."""
    name = f"width {width}"
    curves = variants.train_each(
        study,
        dataset,
        {name: functools.partial(_build, study, dataset, width)},
        batch_size=study.batch_size,
        settings={
            "learning_rate": study.learning_rate,
            "weight_decay": study.weight_decay,
        },
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    )
    folder = study.folder / name.replace(" ", "_")
    model = keras.saving.load_model(folder / "model.keras")
    train, test = (
        nc_keras.codes.activation_codes(model, x)
        for x in (dataset.x_train, dataset.x_test)
    )
    last = curves[name][-1]
    return {
        "units": width,
        "redundancy, train": train.redundancy,
        "redundancy, test": test.redundancy,
        **_judged(study, train, test, dataset),
        "network, %": 100 * last["val_nc_accuracy"],
        "NC4, test": last["val_nc4"],
        "train accuracy, %": 100 * last["nc_accuracy"],
    }


def _build(study, dataset, width) -> keras.Model:
    network = nc_keras.models.MLP(
        dataset.image_shape, dataset.num_classes, (width,)
    )
    return variants.compiled(study, dataset, network)


def _judged(study, train, test, dataset):
    """How well three methods tell classes apart by codes alone, in percent."""
    columns = nc_keras.codes.varying(train, test)
    x, x_test = train.bits(columns), test.bits(columns)
    y, y_test = dataset.y_train, dataset.y_test
    count = min(dataset.num_classes, train.unique)
    clusters = KMeans(count, n_init=4, random_state=study.seed)
    found = clusters.fit(x).predict(x_test)
    # Each cluster stands for the class that suits all of them best.
    counts = np.zeros((dataset.num_classes, dataset.num_classes))
    np.add.at(counts, (found, y_test), 1)
    right = counts[linear_sum_assignment(-counts)].sum() / len(y_test)
    neighbors = KNeighborsClassifier(study.neighbors, metric="hamming")
    linear = LogisticRegression(max_iter=1000)
    scores = [
        one.fit(x, y).score(x_test, y_test) for one in (neighbors, linear)
    ]
    return {
        title: 100 * float(score)
        for title, score in zip(_COLUMNS, (right, *scores), strict=True)
    }


def _claims(rows):
    """What the paper says of wider networks, and whether it was seen."""
    first, last = rows[0], rows[-1]
    falls = last["redundancy, test"] < first["redundancy, test"]
    rises = all(last[title] > first[title] for title in _COLUMNS)
    return [
        "codes become different from each other with the width (redundancy "
        f"{first['redundancy, test']:.3f} to {last['redundancy, test']:.3f}): "
        f"{'agreed' if falls else 'not agreed'}.",
        "all three methods tell classes apart better in the widest network: "
        f"{'agreed' if rises else 'not agreed'}.",
    ]


def _draw(rows, figure: Figure):
    axes = figure.subplots(1, 2, sharex=True)
    units = [row["units"] for row in rows]
    for key, style in (("train", "o-"), ("test", "s--")):
        values = [row[f"redundancy, {key}"] for row in rows]
        axes[0].plot(units, values, style, color=COLORS[0], label=key)
    for title, color in zip(
        (*_COLUMNS, "network, %"), COLORS[1:], strict=False
    ):
        axes[1].plot(
            units,
            [row[title] for row in rows],
            "o-",
            color=color,
            label=title.removesuffix(", %"),
        )
    axes[0].set_title("redundancy of codes")
    axes[1].set_title("test accuracy, %")
    for axis in axes:
        axis.set(xscale="log", xlabel="hidden units")
        axis.grid(True)
        axis.legend()


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
