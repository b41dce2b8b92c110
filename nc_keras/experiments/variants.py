"""Trainings of a study side by side: how far does each of them collapse?"""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

import nc_keras
from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments import studies
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS

# The training accuracy that counts as zero training error, as in recipes.
ZERO_ERROR = 0.999
# At how many epochs collapse is measured, in geometric progression.
MEASUREMENTS = 12
# What the studies train with.
LOSSES = {
    "ce": nc_keras.losses.CE,
    "mse": functools.partial(nc_keras.losses.MSE, "sum"),
}
# What is shown of each training: a title, its key in the logs, and a factor.
SHOWN = (
    ("train accuracy, %", "nc_accuracy", 100),
    ("NC1", "nc1", 1),
    ("NC2, means", "nc2_equiangular_means", 1),
    ("NC3", "nc3", 1),
    ("NC4", "nc4", 1),
    ("test accuracy, %", "val_nc_accuracy", 100),
)
_CURVES = ("NC1", "NC2, means", "NC3")
_STYLES = ("-", "--", ":")

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def train_each(
    study: Study,
    dataset: Dataset,
    builds: Mapping[str, Callable[[], keras.Model]],
    *,
    batch_size: int,
    rate_at: Callable[[int], float] | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Mapping[str, Sequence[keras.callbacks.Callback]] | None = None,
) -> dict[str, list[dict]]:
    """Trains each model, or reads what an earlier command trained.

    Args:
        study: The settings of the study.
        dataset: The images.
        builds: Dictionary from names to functions that return a compiled
            model.
        batch_size: Images in a step.
        rate_at: The learning rate of an epoch, counted from 0; or `None` for
            the optimizer's own.
        settings: What else a checkpoint must agree with.
        callbacks: Dictionary from names to more callbacks of that training.

    Returns:
        For each name, the logs of the measured epochs.
    """
    curves = {}
    for name, build in builds.items():
        _, logs = studies.train(
            study,
            name.replace(", ", "-").replace(" ", "_"),
            build,
            dataset,
            batch_size=batch_size,
            settings=settings,
            callbacks=(callbacks or {}).get(name, ()),
            rate_at=rate_at,
            measured=log_spaced_epochs(study.epochs, MEASUREMENTS),
        )
        # What was not a number was written as null.
        curves[name] = [
            {key: value for key, value in row.items() if value is not None}
            for row in logs
            if row.get("nc_accuracy") is not None
        ]
    return curves


def compiled(
    study: Any, dataset: Dataset, network: keras.Model, loss: str = "ce"
) -> keras.Model:
    """The network behind standardisation, with SGD and one of `LOSSES`.

    Args:
        study: Settings with a `learning_rate` and a `weight_decay`.
        dataset: The images, whose statistics are taken.
        network: A network for standardised images.
        loss: The name of its loss.
    """
    model = studies.standardized(dataset, network)
    model.compile(
        nc_keras.optimizers.SGD(study.learning_rate, 0.9, study.weight_decay),
        loss=LOSSES[loss](),
        metrics=["accuracy"],
    )
    return model


def moments(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first measured epoch, that of zero training error, and the last."""
    zero = [row for row in rows if row["nc_accuracy"] >= ZERO_ERROR]
    return [rows[0], *zero[:1], rows[-1]]


def table(
    curves: Curves, shown: Sequence[tuple[str, str, float]] = SHOWN
) -> list[dict[str, str]]:
    """A row for each training: what was measured at its three moments."""
    return [
        {"": name, "epoch": _arrow(moments(rows), "epoch", 1)}
        | {
            title: _arrow(moments(rows), key, factor)
            for title, key, factor in shown
        }
        for name, rows in curves.items()
    ]


def _arrow(rows, key, factor):
    values = [row.get(key) for row in rows]
    return " → ".join(
        "–" if value is None else f"{factor * value:.3g}" for value in values
    )


def sentences(curves: Curves) -> list[str]:
    """What each training reached at its last epoch, in a sentence."""
    return [
        f"{name}: {nc_keras.verdict(rows[-1]).sentence}"
        for name, rows in curves.items()
    ]


def tell(
    study: Study,
    curves: Curves,
    claims: Sequence[str] = (),
    shown: Sequence[tuple[str, str, float]] = SHOWN,
) -> None:
    """Prints the table and sentences, and writes record and figure.

    Args:
        study: The settings of the study.
        curves: What `train_each` returned.
        claims: Sentences of the study's own.
        shown: As `SHOWN`, if the study shows something else.
    """
    rows = table(curves, shown)
    studies.print_table(
        f"{study.dataset}: first measured → at zero training error → at the "
        "end",
        rows,
        across=True,
    )
    said = [*sentences(curves), *claims]
    for sentence in said:
        print(f"• {sentence}")
    keys = ["epoch", *(key for _, key, _ in shown)]
    kept = {
        name: [{key: row.get(key) for key in keys} for row in rows]
        for name, rows in curves.items()
    }
    studies.finish(
        study,
        {"table": rows, "verdict": said, "curves": kept},
        functools.partial(_draw, curves),
        (9.0, 3.6),
    )


def _draw(curves: Curves, figure: Figure) -> None:
    keys = {title: key for title, key, _ in SHOWN}
    axes = figure.subplots(1, len(_CURVES), sharex=True)
    for axis, title in zip(axes, _CURVES, strict=True):
        for index, (name, rows) in enumerate(curves.items()):
            axis.plot(
                [row["epoch"] for row in rows],
                [_number(row.get(keys[title])) for row in rows],
                _STYLES[index // len(COLORS) % len(_STYLES)],
                color=COLORS[index % len(COLORS)],
                label=name,
            )
        axis.set(title=title, xscale="log", yscale="log", xlabel="epoch")
        axis.grid(True)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


def _number(value):
    return np.nan if value is None else value
