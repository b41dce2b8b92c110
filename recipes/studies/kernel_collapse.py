"""Does the tangent kernel become a matter of classes as features collapse?

    KERAS_BACKEND=jax python -m recipes.studies.kernel_collapse

Trains an MLP past the epoch of zero training error, with each loss and each
head, and measures the tangent kernel of 200 training images along the way:
how much of the centred labels its top C eigenvectors hold, how much of its
variance one value for pairs of one class and one for pairs of two explain
(Seleznova et al., 2023), and NC1 beside them.

Hardware and time: two CPU cores, two minutes on JAX while other programs ran.
`--dataset fashion_mnist --per-class 500` takes other images.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
from matplotlib.figure import Figure

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments import variants
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.models.heads import HEADS
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class KernelCollapse(Study):
    """A network, its losses and heads, and what is measured."""

    widths: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""

    losses: tuple[str, ...] = ("ce", "mse")
    """Losses: ce, and mse summed over the classes."""

    heads: tuple[str, ...] = ("linear", "etf_canonical")
    """Heads, by their names in every recipe."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.02
    """The rate at the beginning; it falls tenfold at 1/2 and 3/4."""

    weight_decay: float = 1e-3
    """Coupled decay of all weights."""

    examples: int = 200
    """Training images of the kernel, as many of each class."""


STUDY = KernelCollapse("kernel_collapse", dataset="digits", epochs=100)

# What is shown: a title, the logs, and whether their axis is logarithmic.
_PANELS = (
    ("NC1", "nc1", True),
    ("labels in the top C", "kernel_labels_{classes}", False),
    ("variance that blocks explain", "kernel_block_r2", False),
    ("centred alignment", "kernel_centred_kta", False),
)


def run(study: KernelCollapse) -> None:
    """Trains each loss with each head, prints a table, and draws curves."""
    studies.require_known("losses", study.losses, variants.LOSSES)
    studies.require_known("heads", study.heads, HEADS)
    dataset = studies.load(study)
    curves = {
        f"{loss}, {head}": _curve(study, dataset, loss, head)
        for loss in study.losses
        for head in study.heads
    }
    rows = [
        _row(name, rows, dataset.num_classes) for name, rows in curves.items()
    ]
    studies.print_table(
        f"{study.dataset}: first measured → at zero training error → at the "
        "end",
        rows,
        across=True,
    )
    claims = [_claim(name, rows) for name, rows in curves.items()]
    for sentence in claims:
        print(f"• {sentence}")
    studies.finish(
        study,
        {"table": rows, "verdict": claims, "curves": curves},
        functools.partial(_draw, curves, dataset.num_classes),
        (11.0, 3.4),
    )


def _curve(study, dataset, loss, head):
    """The measured epochs of one training."""
    name = f"{loss}-{head}"
    kernel = nc_keras.callbacks.KernelAlignment(
        dataset.x_train,
        dataset.y_train,
        log_dir=study.folder / name,
        epochs="log",
        examples=study.examples,
    )
    _, logs = studies.train(
        study,
        name,
        functools.partial(_build, study, dataset, loss, head),
        dataset,
        batch_size=study.batch_size,
        settings={
            key: getattr(study, key)
            for key in ("widths", "weight_decay", "examples", "learning_rate")
        },
        callbacks=[kernel],
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    )
    return [row for row in logs if row.get("nc1") is not None]


def _build(study, dataset: Dataset, loss, head) -> keras.Model:
    network = nc_keras.models.MLP(
        dataset.image_shape, dataset.num_classes, study.widths, head=head
    )
    return variants.compiled(study, dataset, network, loss)


def _row(name, rows, classes):
    chosen = variants.moments(rows)
    found = {
        title: " → ".join(
            f"{row[key.format(classes=classes)]:.3g}" for row in chosen
        )
        for title, key, _ in _PANELS
    }
    ratios = [row["kernel_gamma_d"] / row["kernel_gamma_n"] for row in chosen]
    epochs = [str(row["epoch"]) for row in chosen]
    return {
        "loss, head": name,
        "epochs": " → ".join(epochs),
        **found,
        "gamma_d / gamma_n": " → ".join(f"{one:.3g}" for one in ratios),
    }


def _claim(name, rows):
    """Whether blocks explain more of the kernel where NC1 is lower."""
    first, *_, last = variants.moments(rows)
    fell = last["nc1"] < first["nc1"]
    rose = last["kernel_block_r2"] > first["kernel_block_r2"]
    verdict = "agreed" if fell and rose else "not agreed"
    if last["nc_accuracy"] < variants.ZERO_ERROR:
        verdict += f", at {last['nc_accuracy']:.1%} of training accuracy"
    return (
        f"{name}: NC1 {'fell' if fell else 'did not fall'}, and blocks explain "
        f"{'more' if rose else 'no more'} of the kernel: {verdict}."
    )


def _draw(curves, classes, figure: Figure):
    axes = figure.subplots(1, len(_PANELS), sharex=True)
    for axis, (title, key, is_logarithmic) in zip(axes, _PANELS, strict=True):
        for (name, rows), color in zip(curves.items(), COLORS, strict=False):
            axis.plot(
                [row["epoch"] for row in rows],
                [row[key.format(classes=classes)] for row in rows],
                color=color,
                label=name,
            )
        axis.set_title(title)
        axis.set_xscale("log")
        if is_logarithmic:
            axis.set_yscale("log")
        axis.set_xlabel("epoch")
        axis.grid(True)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
