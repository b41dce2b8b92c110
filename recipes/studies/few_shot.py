"""Do classes that were held out collapse too, and are few shots enough then?

    KERAS_BACKEND=tensorflow python -m recipes.studies.few_shot

Trains a ConvNet on most classes, and measures along the way how well one and
five examples a class tell the classes apart that it never saw, beside CDNV
(Galanti et al. 2021) and the directional CDNV (Luthra et al. 2026) of their
features.

Hardware and time: two CPU cores, five minutes.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import scipy.stats
from matplotlib.figure import Figure

import nc_keras
from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments import studies
from nc_keras.experiments import variants
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class FewShot(Study):
    """A network, its losses, and the classes that it never sees."""

    novel: int = 3
    """How many of the last classes are held out."""

    losses: tuple[str, ...] = ("ce", "mse")
    """Losses: ce, and mse summed over the classes."""

    episodes: int = 1000
    """Episodes of each measurement."""

    filters: tuple[int, ...] = (16, 32, 64)
    """Filters of each block of the ConvNet."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.02
    """The rate of SGD, which drops by ten at 1/2 and 3/4 of the epochs."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = FewShot("few_shot", per_class=200, epochs=60)

_SHOWN = (
    ("train accuracy, %", "nc_accuracy", 100),
    ("NC1, trained classes", "nc1", 1),
    ("CDNV, novel", "novel_cdnv", 1),
    ("directional, novel", "novel_cdnv_directional", 1),
    ("1 shot, %", "novel_1_shot", 100),
    ("5 shots, %", "novel_5_shot", 100),
)


class Novel(keras.callbacks.Callback):
    """Puts few-shot accuracies of held-out classes into `logs`."""

    def __init__(self, x, y, epochs, ways, episodes):
        super().__init__()
        self._data, self._epochs = (x, y), set(epochs)
        self._ways, self._episodes = ways, episodes

    def on_train_begin(self, logs=None):
        self._extractor = nc_keras.FeatureExtractor(self.model)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self._epochs:
            return
        h, y = self._extractor(*self._data)
        for shots in (1, 5):
            found = nc_keras.few_shot(
                h, y, self._ways, shots, episodes=self._episodes
            )
            logs[f"novel_{shots}_shot"] = found.accuracy
        logs["novel_cdnv"] = found.cdnv
        logs["novel_cdnv_directional"] = found.cdnv_directional


def run(study: FewShot) -> None:
    """Trains with each loss, and compares."""
    studies.require_known("losses", study.losses, variants.LOSSES)
    dataset = studies.load(study)
    base = dataset.num_classes - study.novel
    if study.novel < 2 or base < 2:
        raise ValueError(
            "Two classes must be held out, and two trained on. Received: "
            f"novel={study.novel} of {dataset.num_classes} classes."
        )
    trained, held_out = _split(dataset, base)
    settings = ("novel", "episodes", "filters", "learning_rate", "weight_decay")
    epochs = log_spaced_epochs(study.epochs, variants.MEASUREMENTS)
    curves = variants.train_each(
        study,
        trained,
        {
            loss: functools.partial(_build, study, trained, loss)
            for loss in study.losses
        },
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in settings},
        callbacks={
            loss: [Novel(*held_out, epochs, study.novel, study.episodes)]
            for loss in study.losses
        },
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    )
    rows = variants.table(curves, _SHOWN)
    studies.print_table(
        f"{study.dataset}: first measured → at zero training error → at the "
        "end",
        rows,
        across=True,
    )
    claims = _claims(curves)
    for sentence in claims:
        print(f"• {sentence}")
    kept = {
        name: [{key: row[key] for _, key, _ in _SHOWN} for row in rows]
        for name, rows in curves.items()
    }
    studies.finish(
        study,
        {"table": rows, "verdict": claims, "curves": kept},
        functools.partial(_draw, curves),
        (8.0, 3.6),
    )


def _split(dataset, base):
    """The classes that are trained on, and all images of the others."""
    is_base, is_test = dataset.y_train < base, dataset.y_test < base
    trained = dataclasses.replace(
        dataset,
        num_classes=base,
        x_train=dataset.x_train[is_base],
        y_train=dataset.y_train[is_base],
        x_test=dataset.x_test[is_test],
        y_test=dataset.y_test[is_test],
    )
    x = np.concatenate([dataset.x_train[~is_base], dataset.x_test[~is_test]])
    y = np.concatenate([dataset.y_train[~is_base], dataset.y_test[~is_test]])
    return trained, (x, y - base)


def _build(study, dataset, loss) -> keras.Model:
    network = nc_keras.models.ConvNet(
        dataset.image_shape, dataset.num_classes, filters=study.filters
    )
    return variants.compiled(study, dataset, network, loss)


def _claims(curves):
    """Which of the two goes with the one-shot error along training."""
    claims = []
    for name, rows in curves.items():
        errors = [1 - row["novel_1_shot"] for row in rows]
        orders = {
            key: scipy.stats.spearmanr(
                errors, [row[f"novel_{key}"] for row in rows]
            ).statistic
            for key in ("cdnv", "cdnv_directional")
        }
        first, last = rows[0], rows[-1]
        fell = last["novel_cdnv"] < first["novel_cdnv"]
        claims.append(
            f"{name}: CDNV of held-out classes {'fell' if fell else 'rose'} "
            f"from {first['novel_cdnv']:.3g} to {last['novel_cdnv']:.3g}, that "
            f"along the line from {first['novel_cdnv_directional']:.3g} to "
            f"{last['novel_cdnv_directional']:.3g}; rank correlation with the "
            f"one-shot error {orders['cdnv']:.2f} and "
            f"{orders['cdnv_directional']:.2f}."
        )
    return claims


def _draw(curves, figure: Figure):
    axes = figure.subplots(1, 2, sharex=True)
    for (name, rows), color in zip(curves.items(), COLORS, strict=False):
        epochs = [row["epoch"] for row in rows]
        for shots, style in ((1, "-"), (5, "--")):
            values = [100 * row[f"novel_{shots}_shot"] for row in rows]
            label = f"{name}, {shots} shot{'s' * (shots > 1)}"
            axes[0].plot(epochs, values, style, color=color, label=label)
        for key, style in (("cdnv", "-"), ("cdnv_directional", "--")):
            values = [row[f"novel_{key}"] for row in rows]
            axes[1].plot(epochs, values, style, color=color)
    axes[0].set_title("accuracy on held-out classes, %")
    axes[1].set_title("their CDNV (dashed: along the line)")
    axes[1].set_yscale("log")
    for axis in axes:
        axis.set(xscale="log", xlabel="epoch")
        axis.grid(True)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
