"""Does the square loss need weight decay to collapse?

    KERAS_BACKEND=jax python -m recipes.studies.weight_decay

Trains one network from one start in four ways: with all weights normalised
and one rho for them, with and without a decay of rho; and as it is, with and
without weight decay of every layer. Measures neural collapse, rho and where
it would rest, the normalised margins, ranks, and the layers inside.

Hardware and time: two CPU cores, five minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses
import functools

import keras

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.plot.style import INK


@dataclasses.dataclass(frozen=True)
class WeightDecay(Study):
    """A network without biases, and how it is trained."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""

    batch_size: int = 64
    """Images in a step."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    learning_rate: float = 0.02
    """Of both networks; it drops by ten after 2/3 and 5/6 of the epochs."""

    momentum: float = 0.9
    """The momentum of SGD."""

    rho_decay: float = 1e-4
    """lambda in the penalty lambda rho^2 of the normalised network."""

    weight_decay: float = 2e-3
    """The decay of the plain network's weights, (decay / 2) ||W||^2."""


STUDY = WeightDecay("weight_decay", per_class=200, epochs=300)


# Of each run: whether weights are normalised, and whether something decays.
ARMS = {
    "normalised, decay": (True, True),
    "normalised, no decay": (True, False),
    "plain, decay": (False, True),
    "plain, no decay": (False, False),
}
SHOWN = {
    "nc1": "NC1",
    "nc2_equiangular_means": "NC2 equiangular",
    "nc3": "NC3",
    "rho": "rho",
    "rho_equilibrium": "rho at rest",
    "margin_mean": "margin, mean",
    "margin_min": "margin, least",
    "stable_rank": "stable rank",
    "rank": "rank",
    "separation_decay_ratio": "separation, factor a layer",
}


def run(study: WeightDecay) -> None:
    """Trains the four, prints and draws what came of each."""
    dataset = studies.load(study)
    runs = {name: _train(study, name, dataset) for name in ARMS}
    rows = []
    for name, logs in runs.items():
        last = studies.last_measured(logs)
        rows.append(
            {
                "run": name,
                "loss": last["loss"],
                "train error, %": 100 * (1 - last["nc_accuracy"]),
                "test accuracy, %": 100 * last["val_nc_accuracy"],
                **{label: last.get(key) for key, label in SHOWN.items()},
            }
        )
    studies.print_table(f"{study.dataset}, square loss, at the end", rows, True)
    studies.finish(
        study,
        {"runs": rows, "curves": runs},
        functools.partial(_draw, runs),
        (11.0, 3.4),
    )


def _train(study, name, dataset):
    is_normalised, decays = ARMS[name]
    images = dataset.x_train, dataset.y_train
    schedule = nc_keras.callbacks.log_spaced_epochs(study.epochs, 30)
    folder = study.folder / name.replace(", ", "-").replace(" ", "_")
    every = {"log_dir": folder, "epochs": schedule}
    _, logs = studies.train(
        study,
        folder.name,
        functools.partial(_build, study, dataset, is_normalised, decays),
        dataset,
        batch_size=min(study.batch_size, dataset.num_train),
        settings=_settings(study),
        callbacks=[
            nc_keras.callbacks.WeightSpectrum(**every),
            nc_keras.callbacks.NormalizedMargins(*images, **every),
            nc_keras.callbacks.LayerwiseCollapse(*images, **every),
        ],
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (2 / 3, 5 / 6)
        ),
        measured=schedule,
    )
    return logs


def _settings(study):
    names = "widths initial_rho learning_rate momentum rho_decay weight_decay"
    return {name: getattr(study, name) for name in names.split()}


def _build(study, dataset, is_normalised, decays) -> keras.Model:
    network = nc_keras.models.HomogeneousNet(
        dataset.image_shape, dataset.num_classes, widths=study.widths
    )
    if is_normalised:
        network = nc_keras.models.Normalized(
            network, study.rho_decay * decays, rho=study.initial_rho
        )
    else:
        studies.scale(network, study.initial_rho)
    model = studies.standardized(dataset, network)
    model.compile(
        nc_keras.optimizers.SGD(
            study.learning_rate,
            study.momentum,
            0.0 if is_normalised else study.weight_decay * decays,
        ),
        loss=nc_keras.losses.MSE(class_reduction="sum"),
        metrics=["accuracy"],
    )
    return model


def _draw(runs, figure):
    axes = figure.subplots(1, 4)
    shown = ("nc1", "nc3", "rho", "margin_min")
    titles = (
        "NC1, variability collapse",
        "NC3, self-duality",
        "rho (dotted: where it would rest)",
        "least normalised margin × rho",
    )
    for axis, key, title in zip(axes, shown, titles, strict=True):
        for (name, logs), color in zip(runs.items(), COLORS, strict=False):
            rows = [row for row in logs if row.get(key) is not None]
            epochs = [row["epoch"] for row in rows]
            factor = [row["rho"] if key == "margin_min" else 1 for row in rows]
            values = [f * row[key] for f, row in zip(factor, rows, strict=True)]
            axis.plot(epochs, values, color=color, label=name, lw=1.4)
            if key == "rho":
                rest = [row["rho_equilibrium"] for row in rows]
                axis.plot(epochs, rest, color=color, ls=":", lw=1.2)
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.set_xscale("log")
        axis.grid(True)
        if key != "margin_min":
            axis.set_yscale("log")
    axes[3].axhline(0, color=INK, lw=0.8)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
