"""Does SGD come to rest?

    KERAS_BACKEND=jax python -m recipes.studies.sgd_noise

Trains one network from one start with mini-batches and with all images in
each step, with and without weight decay, for the same number of steps at a
constant rate, and follows how much the weights change, relative to their
norm, in as many steps as an epoch of mini-batches has.

Hardware and time: two CPU cores, ten minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses
import functools

import keras
import numpy as np

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class SGDNoise(Study):
    """A network without biases, and how it is trained."""

    widths: tuple[int, ...] = (128, 128)
    """Units of each hidden layer."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    batch_size: int = 50
    """Images in a mini-batch."""

    learning_rate: float = 0.05
    """The constant rate of SGD without momentum."""

    weight_decays: tuple[float, ...] = (0.0, 1e-3, 1e-2)
    """Decays w of all weights, the penalty (w / 2) ||W||^2."""


STUDY = SGDNoise("sgd_noise", per_class=100, epochs=600)


def run(study: SGDNoise) -> None:
    """Trains each, prints and draws the change of the weights."""
    dataset = studies.load(study)
    steps = dataset.num_train // study.batch_size
    sizes = {"mini-batches": study.batch_size, "all": dataset.num_train}
    runs, rows = {}, []
    for decay in study.weight_decays:
        for kind, batch_size in sizes.items():
            logs = _train(study, dataset, kind, decay, batch_size, steps)
            runs[kind, decay] = [row["weight_change"] for row in logs]
            rows.append(_row(kind, decay, logs))
    studies.print_table(
        f"{study.dataset}, relative change of the weights in {steps} steps",
        rows,
    )
    curves = {f"{kind}, decay {w:g}": one for (kind, w), one in runs.items()}
    studies.finish(
        study,
        {"runs": rows, "curves": curves, "steps": steps},
        functools.partial(_draw, study, runs, steps),
        (9.0, 3.8),
    )


def _train(study, dataset, kind, decay, batch_size, steps):
    name = f"{kind}-decay_{decay:g}"
    images = dataset.x_train, dataset.y_train
    few = max(study.epochs // 20, 1)
    _, logs = studies.train(
        study,
        name,
        functools.partial(_build, study, dataset, decay),
        dataset,
        batch_size=batch_size,
        settings={
            "widths": study.widths,
            "initial_rho": study.initial_rho,
            "learning_rate": study.learning_rate,
            "weight_decay": decay,
        },
        callbacks=[
            nc_keras.callbacks.WeightSpectrum(study.folder / name),
            nc_keras.callbacks.NormalizedMargins(
                *images, log_dir=study.folder / name, epochs=few
            ),
        ],
        measured=few,
        steps_per_epoch=steps,
    )
    return logs


def _row(kind, decay, logs):
    changes = np.array([row["weight_change"] for row in logs])
    tenth = max(len(changes) // 10, 1)
    middle = changes[len(changes) // 2 :][:tenth]
    last = studies.last_measured(logs)
    return {
        "images in a step": kind,
        "weight decay": decay,
        "at first": float(changes[0]),
        "in the middle": float(np.median(middle)),
        "at the end": float(np.median(changes[-tenth:])),
        "loss": last["loss"],
        "train error, %": 100 * (1 - last["nc_accuracy"]),
        "stationarity": last.get("stationarity"),
        "stable rank": last["stable_rank"],
    }


def _build(study, dataset, decay) -> keras.Model:
    network = nc_keras.models.HomogeneousNet(
        dataset.image_shape, dataset.num_classes, widths=study.widths
    )
    studies.scale(network, study.initial_rho)
    model = studies.standardized(dataset, network)
    model.compile(
        nc_keras.optimizers.SGD(study.learning_rate, weight_decay=decay),
        loss=nc_keras.losses.MSE(class_reduction="sum"),
        metrics=["accuracy"],
    )
    return model


def _draw(study, runs, steps, figure):
    axis = figure.subplots()
    styles = {"mini-batches": "-", "all": "--"}
    for (kind, decay), changes in runs.items():
        color = COLORS[study.weight_decays.index(decay) % len(COLORS)]
        axis.plot(
            range(1, len(changes) + 1),
            changes,
            styles[kind],
            color=color,
            lw=1.3,
            label=f"{kind}, decay {decay:g}",
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(f"epoch of {steps} steps")
    axis.set_ylabel("‖W − W′‖ / ‖W′‖, mean over layers")
    axis.grid(True)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
