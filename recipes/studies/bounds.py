"""How far are generalisation bounds from what networks really do?

    KERAS_BACKEND=jax python -m recipes.studies.bounds

Trains convolutional networks of several widths with the MSE loss, their
convolutions weight-normalised, and follows three norm-based bounds on the
generalisation gap along the training: by the norms of the filters (Galanti et
al. 2023), by those of the matrices that convolutions are (Golowich et al.
2018), and by parameters and spectral norms (Long & Sedghi 2020). Prints them
factor by factor: a bound above 1 says nothing, and a reader sees why.

Batch 32, rate 0.01, momentum 0.9 and decay 3e-3 are those of the authors'
README; epochs, stride and widths are smaller: CONV-3-H of 2x2 filters with
stride 2, and Fashion-MNIST instead of MNIST.

Hardware and time: two CPU cores; 20 minutes while other work kept them busy.
What to expect is in docs/results.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.plot.style import INK
from nc_keras.theory import bounds


@dataclasses.dataclass(frozen=True)
class Bounds(Study):
    """Networks of several widths, CONV-L-H."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Filters of each convolution, H: one network for each."""

    depth: int = 3
    """Convolutions of each network, L."""

    kernel_size: int = 2
    """Height and width of the filters."""

    strides: int = 2
    """Their stride."""

    batch_size: int = 32
    """Images in a step."""

    learning_rate: float = 0.01
    """The learning rate at the beginning."""

    drops: tuple[float, ...] = (0.75,)
    """After which shares of the epochs the rate drops to a tenth."""

    momentum: float = 0.9
    """Momentum of the optimizer."""

    weight_decay: float = 3e-3
    """Weight decay of all weights, coupled as in PyTorch."""

    def __post_init__(self):
        super().__post_init__()
        if not self.widths:
            raise ValueError("`widths` needs one. Received: widths=().")


STUDY = Bounds("bounds", epochs=8)


_LABELS = {
    "dense": "convolutions as dense layers",
    "positions": "norms of filters, all positions",
    "convolutional": "norms of filters",
    "spectral": "parameters, spectral norms",
}
_TITLES = {
    "convolutional": "filters",
    "positions": "positions",
    "dense": "matrices",
    "spectral": "spectral",
}
_ERRORS = {
    "test_error": "test error",
    "gap": "gap, test − training error",
}


class BoundsInLogs(keras.callbacks.Callback):
    """Puts the bounds, and what they bound, into the logs of every epoch.

    Args:
        dataset: The images.
    """

    def __init__(self, dataset: Dataset):
        super().__init__()
        self._train = dataset.x_train, dataset.y_train
        self._test = dataset.x_test, dataset.y_test

    def on_train_begin(self, logs=None):
        self._inputs = bounds.inputs_of(self.model, self._train)
        self._outputs = nc_keras.FeatureExtractor(
            self.model, features=self.model
        )

    def on_epoch_end(self, epoch, logs=None):
        logs.update(values_of(bounds.compare(self.model, self._inputs)))
        error, margin_error = bounds.errors_of(self._outputs, self._train)
        test_error, _ = bounds.errors_of(self._outputs, self._test)
        logs.update(training_error=error, margin_error=margin_error)
        logs.update(test_error=test_error, gap=test_error - error)


def compared(model: keras.Model, dataset: Dataset) -> bounds.Comparison:
    """The bounds, and the errors on both sets."""
    train = dataset.x_train, dataset.y_train
    test = dataset.x_test, dataset.y_test
    return bounds.compare(model, train, test)


def values_of(comparison: bounds.Comparison) -> dict[str, float]:
    """The bounds and errors as an epoch's logs have them."""
    values = {k: bound.value for k, bound in comparison.bounds.items()}
    return {f"bound_{k}": v for k, v in values.items()} | comparison.measured


def run(study: Bounds) -> None:
    """Trains, follows the bounds, and writes what was found."""
    dataset = studies.load(study)
    networks = [_follow(study, dataset, width) for width in study.widths]
    for network in networks:
        print(f"\n{network['end']}")
    widest = networks[-1]
    print(f"\n{widest['end'].bounds['convolutional']}\n")
    table = table_of(networks)
    studies.print_table("log10 of the bounds; test error and gap", table)
    said = verdict(networks)
    print(*said, sep="\n")
    record = {
        "networks": [_recorded(network) for network in networks],
        "verdict": said,
    }
    studies.finish(
        study,
        record,
        lambda figure: draw(figure, networks),
        size=(3.3 * (len(networks) + 1), 4.4),
    )


def _follow(study, dataset, width):
    """Trains one network; its bounds before, along and after."""
    name = f"conv-{study.depth}-{width}"
    keras.utils.set_random_seed(study.seed)
    first = compared(compiled_model(study, dataset, width), dataset)
    names = ("depth", "kernel_size", "strides", "learning_rate", "drops")
    names += ("momentum", "weight_decay")
    model, rows = studies.train(
        study,
        name,
        lambda: compiled_model(study, dataset, width),
        dataset,
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in names},
        callbacks=[BoundsInLogs(dataset)],
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, study.drops
        ),
        measured=[study.epochs],
    )
    kept = values_of(first).keys()
    curves = [{"epoch": 0} | values_of(first)]
    curves += [{k: row[k] for k in ("epoch", *kept)} for row in rows]
    return {
        "name": name,
        "width": width,
        "start": first,
        "end": compared(model, dataset),
        "curves": curves,
    }


def compiled_model(study: Bounds, dataset: Dataset, width: int) -> keras.Model:
    """CONV-L-H for images as they are stored, scaled to [0, 1]."""
    network = nc_keras.models.HomogeneousNet(
        dataset.image_shape,
        dataset.num_classes,
        filters=(width,) * study.depth,
        kernel_size=study.kernel_size,
        strides=study.strides,
    )
    scale = keras.layers.Rescaling(1 / max(1, int(dataset.x_train.max())))
    inputs = keras.Input(dataset.image_shape)
    model = keras.Model(
        inputs,
        keras.models.clone_model(network, clone_function=_normalized)(
            scale(inputs)
        ),
        name=f"conv_{study.depth}_{width}",
    )
    optimizer = nc_keras.optimizers.SGD(
        study.learning_rate, study.momentum, study.weight_decay
    )
    model.compile(optimizer, nc_keras.losses.MSE(), metrics=["accuracy"])
    return model


def _normalized(layer):
    """A convolution with one trained norm for its whole kernel."""
    copy = layer.__class__.from_config(layer.get_config())
    if not isinstance(layer, keras.layers.Conv2D):
        return copy
    return nc_keras.layers.WeightNormalization(
        copy, per="kernel", name=layer.name
    )


def table_of(networks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for the beginning and the end of every training."""
    rows = []
    for network in networks:
        for when in ("start", "end"):
            found, errors = network[when].bounds, network[when].measured
            logs = {
                title: _log10(found[name].value)
                for name, title in _TITLES.items()
            }
            rows.append(
                {"H": network["width"], "": when}
                | {name: f"{value:.2f}" for name, value in logs.items()}
                | {k.replace("_", " "): f"{errors[k]:.1%}" for k in _ERRORS}
            )
    return rows


def verdict(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of the claims these trainings show, in words."""
    last = [network["end"] for network in networks]
    orders = [one.orders_of_magnitude for one in last]
    values = [one.bounds["convolutional"].value for one in last]
    begun = [n["start"].bounds["convolutional"].value for n in networks]
    said = [
        f"The norms of filters give {_range(orders, '.1f')} orders of "
        "magnitude less than those of the matrices.",
        f"That bound is {_range(begun)} before training, and "
        f"{_range(values)} after it.",
    ]
    good = [
        f"{bound.name} ({network['name']}): {bound.value:.3g}"
        for network in networks
        for bound in network["end"].bounds.values()
        if not bound.is_vacuous
    ]
    said.append(
        f"Not vacuous: {', '.join(good)}."
        if good
        else "Every bound is above 1, and so vacuous."
    )
    counted = [one.bounds["positions"].value for one in last]
    gaps = [one.measured["gap"] for one in last]
    narrow = [one.measured["margin_error"] for one in last]
    return [
        *said,
        "With the positions that the dense layer sees it is "
        f"{_range(counted)}.",
        f"The gap that they bound is {_range(gaps, '.1%')}; of the training "
        f"images {_range(narrow, '.1%')} have a margin of at most 1, which "
        "the inequality adds to the bound.",
    ]


def _range(values, style=None):
    """From the smallest to the largest, to three digits or as told."""
    words = [
        format(v, style) if style else f"{float(f'{v:.3g}'):,g}"
        for v in (min(values), max(values))
    ]
    return " to ".join(dict.fromkeys(words))


def _recorded(network):
    moments = {
        when: {
            name: {
                "value": bound.value,
                "vacuous": bound.is_vacuous,
                "norms": bound.norms,
                "factors": bound.factors,
                "confidence": bound.confidence,
            }
            for name, bound in network[when].bounds.items()
        }
        for when in ("start", "end")
    }
    return {
        "name": network["name"],
        "width": network["width"],
        "measured": network["end"].measured,
        "curves": network["curves"],
        **moments,
    }


def draw(figure: Figure, networks: Sequence[Mapping[str, Any]]) -> None:
    """Draws the bounds over the epochs, and the factors of one of them."""
    axes = figure.subplots(1, len(networks) + 1)
    for network, panel in zip(networks, axes, strict=False):
        if panel is not axes[0]:
            panel.sharey(axes[0])
            panel.tick_params(labelleft=False)
        _draw_curves(panel, network)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    _draw_factors(axes[-1], networks[-1])


def _draw_curves(axes: Axes, network):
    curves = network["curves"]
    epochs = [row["epoch"] for row in curves]
    for (name, label), color in zip(_LABELS.items(), COLORS, strict=False):
        values = [row[f"bound_{name}"] for row in curves]
        axes.plot(epochs, values, color=color, label=label)
    for (name, label), style in zip(_ERRORS.items(), ("-", ":"), strict=True):
        # A gap that is not positive has no logarithm.
        rows = [row for row in curves if row.get(name, 0) > 0]
        x, values = ([row[k] for row in rows] for k in ("epoch", name))
        axes.plot(x, values, style, color=INK, label=label)
    label = "1: a bound above it is vacuous"
    axes.axhline(1, color=INK, linewidth=0.8, linestyle="--", label=label)
    axes.set(title=network["name"].upper(), xlabel="epoch", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")


def _draw_factors(axes: Axes, network):
    """Decades of the factors of the bound by norms of filters."""
    styles = {"start": COLORS[6], "end": COLORS[2]}
    for offset, (when, color) in enumerate(styles.items()):
        bound = network[when].bounds["convolutional"]
        factors = bound.factors | {
            "confidence, added": bound.confidence,
            "bound": bound.value,
        }
        decades = [_log10(value) for value in factors.values()]
        places = [i + 0.4 * offset - 0.2 for i in range(len(factors))]
        bars = axes.barh(places, decades, 0.38, color=color, label=when)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(factors)), factors)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(
        title=f"{network['name'].upper()}: norms of filters",
        xlabel="log10 of each factor",
    )
    axes.legend(loc="lower left", fontsize=8)


def _log10(value):
    return math.log10(value) if 0 < value < math.inf else value


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
