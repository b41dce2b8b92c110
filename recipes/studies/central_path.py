"""Does a real training follow the central path of the MSE loss?

    KERAS_BACKEND=jax python -m recipes.studies.central_path

Trains an MLP with the MSE loss past the epoch of zero training error, on 1,000
images per class of Fashion-MNIST, splits the loss into its parts, and records
the signal-to-noise singular values of the features. Over them it lays the
closed form of the central path, with one number fitted: how fast its time goes
by. Prepare the images with `python tools/prepare_dataset.py fashion_mnist`;
`--dataset digits --per-class 100` needs none.

Hardware and time: two CPU cores, under three minutes on JAX.
What to expect is in docs/results.md.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.datasets import Dataset
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.plot.style import INK
from nc_keras.theory import central_path
from nc_keras.writers.json_lines import read_json_lines


@dataclasses.dataclass(frozen=True)
class CentralPath(Study):
    """A network that is trained with the MSE loss."""

    network: Literal["mlp", "conv_net"] = "mlp"
    """The network, with batch normalisation."""

    widths: tuple[int, ...] | None = None
    """Units of each layer of the mlp, or filters of each block of conv_net.
    Defaults to 512 512 128, and 32 64 128."""

    batch_size: int = 64
    """Images in a step."""

    learning_rate: float = 0.1
    """The learning rate at the beginning."""

    drops: tuple[float, ...] = (0.8,)
    """After which shares of the epochs the rate drops to a tenth."""

    momentum: float = 0.9
    """Momentum of the optimizer."""

    weight_decay: float = 1e-5
    """Weight decay of all weights, coupled as in the papers."""

    def __post_init__(self):
        super().__post_init__()
        if not self.learning_rate > 0:
            raise ValueError(
                "`learning_rate` must be positive. "
                f"Received: learning_rate={self.learning_rate}."
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths, or those that the network has by default."""
        default = {"mlp": (512, 512, 128), "conv_net": (32, 64, 128)}
        return self.widths or default[self.network]


STUDY = CentralPath("central_path", per_class=1000, epochs=100)


_RUN = "mse"
_PARTS = {
    "loss": "whole loss, L",
    "mse_nc1": "spread within classes, NC1",
    "mse_nc23": "misses at the class means, NC2/3",
    "mse_perp": "head is not the best, L⊥",
}
_SPANS = {
    "whole": "In the whole training",
    "before": "Before zero training error",
    "after": "After zero training error",
}
_LABELS = {
    "whole": "whole training",
    "before": "before zero error",
    "after": "after zero error",
}
_FOLLOWS = 0.1  # about 10 %
_NEGLIGIBLE = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """Singular values along a training.

    Attributes:
        epochs: Integer array of shape `(T,)`; 0 is before the first.
        times: Array of shape `(T,)`, sums of learning rates.
        values: Array of shape `(T, r)`, the largest first.
        classes: Integer, `C`.
        images: Integer, `N`.
    """

    epochs: np.ndarray
    times: np.ndarray
    values: np.ndarray
    classes: int
    images: int

    def part(self, first: int, last: int) -> Path:
        """The part from an epoch to another."""
        rows = (self.epochs >= first) & (self.epochs <= last)
        return dataclasses.replace(
            self,
            epochs=self.epochs[rows],
            times=self.times[rows],
            values=self.values[rows],
        )

    def fit(self) -> central_path.TimeFit:
        """The closed form with the best time scale."""
        return central_path.fit_time_scale(
            self.times, self.values, self.classes, self.images
        )

    def off_at_any_time(self) -> float:
        """The residual if each row may choose its time of the closed form."""
        squares = []
        for row in self.values[1:]:
            fit = central_path.fit_time_scale(
                [0, 1], [self.values[0], row], self.classes, self.images
            )
            squares.append(fit.residual**2)
        return math.sqrt(np.mean(squares))

    def off_at_rest(self) -> float:
        """The residual of values that stay what they are at first."""
        ratios = np.log(self.values[1:] / self.values[0])
        return math.sqrt(np.mean(ratios**2))


def run(study: CentralPath) -> None:
    """Trains, compares with the closed form, and writes what was found."""
    dataset = studies.load(study)
    studies.require_balanced(dataset)
    rows = _train(study, dataset)
    rows = [row for row in rows if row.get("mse_perp") is not None]
    for row in rows:
        row["loss"] = sum(row[f"mse_{p}"] for p in ("nc1", "nc23", "perp"))
    path = read_path(study.folder / _RUN / "snr.jsonl", dataset)
    terminal = next((r["epoch"] for r in rows if r["terminal_phase"]), None)
    moments = moments_of(rows, path, terminal)
    fits = fits_of(path, terminal)
    said = verdict(rows, path, fits)
    studies.print_table("The loss and its parts", moments)
    if fits:
        studies.print_table(
            "Off the closed form: whole training, before and after zero error",
            table_of(fits),
        )
    print(*said, sep="\n")
    record = {
        "moments": moments,
        "terminal_epoch": terminal,
        "fits": fits,
        "verdict": said,
        "parts": [{k: row[k] for k in ("epoch", *_PARTS)} for row in rows],
        "epochs": path.epochs.tolist(),
        "times": path.times.tolist(),
        "snr": path.values.tolist(),
    }
    studies.finish(
        study,
        record,
        lambda figure: draw(figure, rows, path, fits, terminal),
        size=(10.5, 4.4),
    )


def _train(study, dataset):
    names = ("network", "learning_rate", "drops", "momentum", "weight_decay")
    snr = nc_keras.callbacks.SignalToNoise(
        dataset.x_train,
        dataset.y_train,
        epochs="log",
        log_dir=study.folder / _RUN,
    )
    _, rows = studies.train(
        study,
        _RUN,
        lambda: compiled_model(study, dataset),
        dataset,
        batch_size=study.batch_size,
        settings={name: getattr(study, name) for name in names}
        | {"widths": study.layers},
        callbacks=[snr],
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, study.drops
        ),
    )
    return rows


def compiled_model(study: CentralPath, dataset: Dataset) -> keras.Model:
    """A network for images as they are stored, with the MSE loss."""
    shape = dataset.image_shape
    build = {"mlp": nc_keras.models.MLP, "conv_net": nc_keras.models.ConvNet}
    network = build[study.network](shape, dataset.num_classes, study.layers)
    model = studies.standardized(dataset, network)
    optimizer = nc_keras.optimizers.SGD(
        study.learning_rate, study.momentum, study.weight_decay
    )
    model.compile(optimizer, nc_keras.losses.MSE(), metrics=["accuracy"])
    return model


def read_path(file: pathlib.Path, dataset: Dataset) -> Path:
    """Reads what `SignalToNoise` wrote, up to where it was singular."""
    rows = [row for row in read_json_lines(file) if "snr_1" in row]
    values = np.array(
        [[v for k, v in row.items() if k.startswith("snr_")] for row in rows],
        "float64",
    )
    good = (values > 0).all(axis=1)  # NaN is not
    return Path(
        epochs=np.array([row["epoch"] for row in rows])[good],
        times=np.array([row["time"] for row in rows])[good],
        values=values[good],
        classes=dataset.num_classes,
        images=dataset.num_train,
    )


def moments_of(
    rows: Sequence[Mapping[str, Any]], path: Path, terminal: int | None
) -> list[dict[str, Any]]:
    """The parts at the first and last measurement and at zero error."""
    epochs = {
        "first": rows[0]["epoch"],
        "zero error": terminal,
        "end": rows[-1]["epoch"],
    }
    of_epoch = {row["epoch"]: row for row in rows}
    moments = []
    for name, epoch in epochs.items():
        if epoch not in of_epoch:
            continue
        row, values = of_epoch[epoch], path.part(epoch, epoch).values
        shares = {
            title: 100 * row[key] / row["loss"]
            for title, key in (
                ("NC1 %", "mse_nc1"),
                ("NC2/3 %", "mse_nc23"),
                ("L⊥ %", "mse_perp"),
            )
        }
        largest, smallest = (
            values[0, [0, -1]] if len(values) else [math.nan] * 2
        )
        moments.append(
            {"": name, "epoch": epoch, "L": row["loss"], **shares}
            | {"max": float(largest), "min": float(smallest)}
            | {"ratio": float(largest / smallest)}
        )
    return moments


def fits_of(path: Path, terminal: int | None) -> list[dict[str, Any]]:
    """The fits of the whole training, and before and after zero error."""
    end = int(path.epochs[-1]) if len(path.epochs) else 0
    spans = {"whole": (0, end)}
    if terminal is not None:
        spans["before"] = (1, terminal)
        spans["after"] = (terminal, end)
    fits = []
    for name, (first, last) in spans.items():
        part = path.part(first, last)
        if len(part.epochs) < 2:
            continue
        fit = part.fit()
        fits.append(
            {
                "part": name,
                "first_epoch": int(part.epochs[0]),
                "last_epoch": int(part.epochs[-1]),
                "scale": fit.scale,
                "residual": fit.residual,
                "residual_at_any_time": part.off_at_any_time(),
                "residual_at_rest": part.off_at_rest(),
                "ratio": _ratio(part.values[-1]),
                "predicted_ratio": _ratio(fit.predicted[-1]),
            }
        )
    return fits


def table_of(fits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The fits as they are printed: residuals as percentages."""
    return [
        {
            "part": fit["part"],
            "epochs": f"{fit['first_epoch']}–{fit['last_epoch']}",
            "scale": fit["scale"],
            "off": _percent(fit["residual"]),
            "any time": _percent(fit["residual_at_any_time"]),
            "at rest": _percent(fit["residual_at_rest"]),
            "ratio": fit["ratio"],
            "of form": fit["predicted_ratio"],
        }
        for fit in fits
    ]


def _percent(residual):
    return f"{math.expm1(residual):.0%}"


def _ratio(values):
    return float(values[0] / values[-1])


def verdict(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    fits: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What of the theory this training shows, in words."""
    shares = [row["mse_perp_share"] for row in rows]
    usual = statistics.median(shares)
    said = [
        f"The head costs {min(shares):.1%} to {max(shares):.1%} of the loss, "
        f"half of the time less than {usual:.1%}: it "
        f"{'is' if usual < _NEGLIGIBLE else 'is not'} near the best one."
    ]
    if len(path.values) < 2:
        return [*said, "Sigma_W was singular: no signal-to-noise values."]
    first, last = _ratio(path.values[0]), _ratio(path.values[-1])
    said.append(
        f"Largest over smallest singular value: {first:.3g} at first, "
        f"{last:.3g} at the end. They "
        f"{'come closer' if last < first else 'do not come closer'}."
    )
    for fit in fits:
        follows = fit["residual"] < _FOLLOWS
        said.append(
            f"{_SPANS[fit['part']]} the singular values "
            f"{'follow' if follows else 'do not follow'} the closed form; they "
            f"are off by {_percent(fit['residual'])} (by "
            f"{_percent(fit['residual_at_rest'])} if nothing had moved)."
        )
    return said


def draw(
    figure: Figure,
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    fits: Sequence[Mapping[str, Any]],
    terminal: int | None,
) -> None:
    """Draws the parts of the loss, and the singular values over time."""
    left, right = figure.subplots(1, 2)
    _draw_parts(left, rows, terminal)
    if len(path.values):
        _draw_values(right, path, fits, terminal)


def _draw_parts(axes: Axes, rows, terminal):
    epochs = [row["epoch"] for row in rows]
    for (key, label), color in zip(
        _PARTS.items(), (INK, *COLORS), strict=False
    ):
        values = [row[key] for row in rows]
        axes.plot(epochs, values, color=color, label=label)
    shares = [row["mse_perp_share"] for row in rows]
    axes.plot(epochs, shares, "--", color=COLORS[2], label="its share, L⊥ / L")
    axes.set(
        title="MSE loss and its parts",
        xlabel="epoch",
        xscale="log",
        yscale="log",
    )
    _mark(axes, terminal)
    axes.legend(fontsize=8)


def _mark(axes, where):
    """A dotted upright line where the training error vanishes."""
    if where is not None:
        axes.axvline(where, color=INK, linestyle=":", linewidth=1)


def _draw_values(axes: Axes, path, fits, terminal):
    axes.plot(path.times, path.values, color=COLORS[0], linewidth=1.2)
    lines = [Line2D([], [], color=COLORS[0], label="measured")]
    for fit, color in zip(fits, COLORS[1:], strict=False):
        part = path.part(fit["first_epoch"], fit["last_epoch"])
        style = {"color": color, "linestyle": "--", "linewidth": 1}
        axes.plot(part.times, part.fit().predicted, **style)
        label = f"closed form, {_LABELS[fit['part']]}: "
        label += f"{_percent(fit['residual'])} off"
        lines.append(Line2D([], [], **style, label=label))
    reached = path.times[path.epochs == terminal]
    _mark(axes, reached[0] if len(reached) else None)
    axes.set(
        title="Signal-to-noise singular values",
        xlabel="sum of learning rates",
        yscale="log",
    )
    axes.legend(
        handles=lines,
        fontsize=8,
        frameon=True,
        framealpha=1.0,
        edgecolor="none",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
