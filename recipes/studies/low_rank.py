"""Do small batches, large rates and decay leave weights of low rank?

    KERAS_BACKEND=jax python -m recipes.studies.low_rank

Trains a grid of batch sizes, learning rates and weight decays, all from one
start and for the same number of steps, so many that with any of the decays
little is left of the initial weights, and reads the ranks of the weights at
the end: how many singular values exceed a share of the Frobenius norm, and
the stable rank. Beside them are the rank that the theory allows, and the share
`(1 - rate * decay)^steps` of the initial weights that is left.

Hardware and time: two CPU cores, ten minutes on JAX while other programs ran.
What to expect is in docs/results.md.
"""

import dataclasses
import functools
import itertools

import keras

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class LowRank(Study):
    """A network without biases, and the grid."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""

    initial_rho: float = 40.0
    """The product of the norms of all layers, at the start of every run."""

    batch_sizes: tuple[int, ...] = (8, 32, 128)
    """Images in a step."""

    learning_rates: tuple[float, ...] = (0.05, 0.1)
    """Constant rates of SGD without momentum, as in the authors' code."""

    weight_decays: tuple[float, ...] = (0.0, 0.01, 0.02)
    """Decays w of all weights, the penalty (w / 2) ||W||^2."""

    tolerance: float = 0.01
    """A singular value counts above this share of the Frobenius norm."""

    steps: int = 12_000
    """Steps of every training, shared out among the epochs."""


STUDY = LowRank("low_rank", per_class=200, epochs=20)


_MARKERS = "os^Dv*X"


def run(study: LowRank) -> None:
    """Trains the grid, prints a table of it, and draws it."""
    dataset = studies.load(study)
    _require_distinct(study)
    grid = itertools.product(
        study.learning_rates, study.weight_decays, study.batch_sizes
    )
    rows = [_cell(study, dataset, *cell) for cell in grid]
    studies.print_table(
        f"{study.dataset}, ranks after {study.steps:,} steps "
        f"(tolerance {study.tolerance:g})",
        rows,
    )
    claims = [
        _claim(rows, study, *one)
        for one in (
            ("batch size", "smaller", study.batch_sizes[::-1]),
            ("learning rate", "larger", study.learning_rates),
            ("weight decay", "larger", study.weight_decays),
        )
    ]
    studies.print_table("Does the rank fall?", claims)
    studies.finish(
        study,
        {"grid": rows, "claims": claims},
        functools.partial(_draw, study, rows),
        (4.2 * len(study.learning_rates) + 1, 3.8),
    )


def _require_distinct(study):
    for name in ("batch_sizes", "learning_rates", "weight_decays"):
        values = getattr(study, name)
        if not values or list(values) != sorted(set(values)):
            raise ValueError(
                f"`{name}` must increase. Received: {name}={values}."
            )


def _cell(study, dataset, rate, decay, batch_size):
    name = f"rate_{rate:g}-decay_{decay:g}-batch_{batch_size}"
    spectrum = nc_keras.callbacks.WeightSpectrum(
        study.folder / name,
        tolerance=study.tolerance,
        batch_size=batch_size,
    )
    _, logs = studies.train(
        study,
        name,
        functools.partial(_build, study, dataset, rate, decay),
        dataset,
        batch_size=batch_size,
        settings={
            "widths": study.widths,
            "initial_rho": study.initial_rho,
            "tolerance": study.tolerance,
        },
        callbacks=[spectrum],
        measured=study.epochs,
        steps_per_epoch=max(study.steps // study.epochs, 1),
    )
    last = logs[-1]
    return {
        "learning rate": rate,
        "weight decay": decay,
        "batch size": batch_size,
        "rank": last["rank"],
        "stable rank": last["stable_rank"],
        "effective rank": last["effective_rank"],
        "allowed rank": last.get("rank_bound"),
        "initial weights left": (1 - rate * decay) ** study.steps,
        "train error, %": 100 * (1 - last["nc_accuracy"]),
        "test accuracy, %": 100 * last["val_nc_accuracy"],
        "NC1": last["nc1"],
    }


def _build(study, dataset, rate, decay) -> keras.Model:
    network = nc_keras.models.HomogeneousNet(
        dataset.image_shape, dataset.num_classes, widths=study.widths
    )
    studies.scale(network, study.initial_rho)
    model = studies.standardized(dataset, network)
    model.compile(
        nc_keras.optimizers.SGD(rate, weight_decay=decay),
        loss=nc_keras.losses.MSE(class_reduction="sum"),
        metrics=["accuracy"],
    )
    return model


def _claim(rows, study, name, direction, values):
    """In how many neighbouring pairs of the grid a rank fell."""
    others = {"batch size", "learning rate", "weight decay"} - {name}
    pairs = [
        (one, other)
        for before, after in itertools.pairwise(values)
        for one in rows
        for other in rows
        if one[name] == before
        and other[name] == after
        and all(one[key] == other[key] for key in others)
    ]
    result = {"with a": f"{direction} {name}", "pairs": len(pairs)}
    for rank in ("rank", "stable rank", "effective rank"):
        fell = sum(other[rank] < one[rank] for one, other in pairs)
        result[f"{rank} fell in"] = fell
    return result


def _draw(study, rows, figure):
    axes = figure.subplots(
        2, len(study.learning_rates), squeeze=False, sharex=True, sharey="row"
    )
    for row, key in zip(axes, ("rank", "stable rank"), strict=True):
        for axis, rate in zip(row, study.learning_rates, strict=True):
            for decay, color, marker in zip(
                study.weight_decays, COLORS, _MARKERS, strict=False
            ):
                cells = [
                    one
                    for one in rows
                    if one["learning rate"] == rate
                    and one["weight decay"] == decay
                ]
                axis.plot(
                    [one["batch size"] for one in cells],
                    [one[key] for one in cells],
                    color=color,
                    marker=marker,
                    label=f"decay {decay:g}",
                )
            axis.set_title(f"{key}, rate {rate:g}")
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set_ylim(bottom=0)
            axis.grid(True)
    for axis in axes[-1]:
        axis.set_xlabel("batch size")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
