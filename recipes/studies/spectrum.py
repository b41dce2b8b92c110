"""Does the tangent kernel's spectrum align with what a network learns?

    KERAS_BACKEND=jax python -m recipes.studies.spectrum

Trains a network on a picture, a function of the plane, by full-batch gradient
descent whose rate is halved twice, and follows the tangent kernel: its
eigenvalues, and how much of the targets, the outputs and the residual its top
eigenvectors hold (Kopitkov & Indelman, 2019). A table says which of the
paper's observations are seen. The picture is drawn by the study;
`--image FILE --points 10000 --widths 256 256 256 256 256 --steps 600000` is
the paper's size, for a GPU.

Hardware and time: two CPU cores, 84 seconds on JAX while other programs ran.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.kernel_pictures import plane_image
from nc_keras.experiments import locks
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.results.identity import require_same
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.training.resumable import Resumable
from nc_keras.experiments.training.resumable import make_deterministic
from nc_keras.kernel.alignment import alignment
from nc_keras.kernel.gram import gram
from nc_keras.kernel.gram import gram_of
from nc_keras.kernel.network import Network
from nc_keras.kernel.spectrum import Operator
from nc_keras.plot.style import COLORS
from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.json_lines import read_json_lines


@dataclasses.dataclass(frozen=True)
class Spectrum(Study):
    """A network, the points of a picture, and gradient descent."""

    image: pathlib.Path | None = None
    """A picture to learn. Defaults to one that the study draws."""

    points: int = 300
    """Points of the picture, at random, in every step."""

    widths: tuple[int, ...] = (100, 100, 100, 100, 100)
    """Units of each hidden layer."""

    slope: float = 0.2
    """Of the leaky ReLU, below zero. The paper does not say which."""

    learning_rate: float = 0.25
    """The rate of the loss |f - y|^2 / 2; halved after each third."""

    steps: int = 9000
    """Steps of gradient descent."""


STUDY = Spectrum("spectrum", dataset="plane", epochs=900)
_SHARES = ("labels", "outputs", "residual", "test_outputs")


def run(study: Spectrum) -> None:
    """Trains, prints what was seen of the paper, and draws it."""
    _require_whole(study)
    x, y = points_of(study, study.seed)
    model = _trained(study, x, y)
    rows = read_json_lines(study.folder / "spectrum.jsonl")
    ks = [int(k) for k in rows[0]["labels"]]
    table = [_table_row(row, ks) for row in rows]
    studies.print_table(f"{len(x)} points, {study.steps:,} steps", table)
    claims = observations(rows, study.steps)
    studies.print_table("What the paper saw", claims)
    kernel = gram(model, x, batch_size=len(x)).values
    vectors = np.linalg.eigh(kernel)[1]
    studies.finish(
        study,
        {"observations": claims, "table": table, "curves": rows},
        functools.partial(_draw, rows, ks, x, vectors[:, ::-1]),
        (15.0, 10.0),
    )


def points_of(study: Spectrum, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random points of the plane, and the picture's values there.

    Args:
        study: The settings.
        seed: Integer, of the points.

    Returns:
        Arrays of shape `(N, 2)`, from 0 to 1, and `(N, 1)`, of mean 0 and
        standard deviation 1.
    """
    x = np.random.default_rng(seed).uniform(size=(study.points, 2))
    if study.image is None:
        y = np.cos(2 * np.pi * x[:, 0]) + 0.5 * np.sin(4 * np.pi * x[:, 1])
        y = y + (x.sum(axis=1) > 1)
    else:
        try:
            picture = np.asarray(Image.open(study.image).convert("L"), float)
        except OSError as error:
            raise ValueError(
                f"`image` must be a picture. Received: {study.image}: {error}."
            ) from error
        places = (x * picture.shape[::-1]).astype(int)
        y = picture[::-1][places[:, 1], places[:, 0]]
    y = (y - y.mean()) / y.std()
    return x.astype("float32"), y[:, None].astype("float32")


def _require_whole(study):
    if study.points < 100 or study.steps % study.epochs or study.epochs < 9:
        raise ValueError(
            "`points` must be 100 or more, `epochs` 9 or more, and `steps` a "
            "multiple of `epochs`. Received: "
            f"points={study.points}, epochs={study.epochs}, "
            f"steps={study.steps}."
        )


def _trained(study, x, y):
    folder = study.folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = study.plain() | {"backend": keras.backend.backend()}
    identity = {
        k: v for k, v in settings.items() if k not in ("output", "progress")
    }
    with locks.hold(folder):
        finished = folder / "finished.json"
        if finished.exists():
            require_same(folder, json.loads(finished.read_text()), identity)
            print("finished before, not trained again")
            return keras.saving.load_model(folder / "model.keras")
        make_deterministic()
        keras.utils.set_random_seed(study.seed)
        model = _build(study)
        resumable = Resumable(
            folder,
            identity,
            [_Observer(study, x, y)],
            # Keras' loss is twice that of the paper.
            lambda epoch: _rate(study, epoch) / 2,
        )
        per_epoch = study.steps // study.epochs
        resumable.fit(
            model,
            study.epochs,
            "spectrum" if study.progress else None,
            x=np.tile(x, (per_epoch, 1)),
            y=np.tile(y, (per_epoch, 1)),
            batch_size=len(x),
            shuffle=False,
        )
        if resumable.failure is not None:
            raise ValueError(f"{resumable.failure}. Choose a smaller rate.")
        resumable.checkpoint.delete()
        resumable.keep(model)
        write_json(finished, identity)
    return model


def _build(study):
    layers: list[Any] = [keras.Input((2,))]
    for width in study.widths:
        layers.append(
            keras.layers.Dense(width, kernel_initializer="glorot_normal")
        )
        layers.append(keras.layers.LeakyReLU(negative_slope=study.slope))
    layers.append(keras.layers.Dense(1, kernel_initializer="glorot_normal"))
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(study.learning_rate / 2), loss="mse")
    return model


def _rate(study, epoch):
    """The rate of an epoch, counted from 0."""
    return study.learning_rate * 0.5 ** min(3 * epoch // study.epochs, 2)


class _Observer(EpochObserver):
    """Writes the spectrum, and what aligns with it, to `spectrum.jsonl`."""

    run = "spectrum"

    def __init__(self, study, x, y):
        super().__init__(_measured(study.epochs), study.folder)
        self._study = study
        self._x, self._y = x, y
        self._test_x, self._test_y = points_of(study, study.seed + 1)
        self._network: Any = None
        self._rows: Any = None

    def first_step(self, epoch):
        return epoch + 1 if epoch else 0

    def get_state(self):
        if self._rows is not None:
            self._rows.sync()
        return super().get_state()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._rows is None:
            path = self._study.folder / "spectrum.jsonl"
            self._rows = JSONLinesWriter(path, self.first_step(epoch))
            if epoch == 0:
                self.observe(0)

    def observe(self, epoch):
        if self._network is None:
            size = len(self._x)
            self._network = Network(self.model, self._x, size)
        row = {"epoch": epoch, **self._row(epoch)}
        self._rows.write(row)
        numbers = {k: v for k, v in row.items() if isinstance(v, float)}
        self.scalars(epoch, numbers)
        return numbers

    def _row(self, epoch):
        network, study = self._network, self._study
        operator = Operator(network, self._x)
        outputs = operator.outputs()
        residual = outputs - self._y
        kernel = gram_of(network, self._x).values
        ks = [k for k in _ks() if k <= len(self._x)]
        found = alignment(kernel, self._y, outputs, residual, ks)
        test = alignment(
            gram_of(network, self._test_x).values,
            self._test_y,
            Operator(network, self._test_x).outputs(),
            k=ks,
        )
        shares = {
            "labels": found.labels,
            "outputs": found.outputs,
            "residual": found.residual,
            "test_outputs": test.outputs,
        }
        rate = _rate(study, max(epoch - 1, 0))
        return {
            "step": epoch * (study.steps // study.epochs),
            "rate": rate,
            "loss": float(np.mean(residual**2) / 2),
            "edge": found.edge(rate),
            "lambda_max": found.lambda_max,
            "kta": found.kta,
            "step_cosine": _step_cosine(
                operator, kernel, outputs, residual, rate
            ),
            **{
                name: dict(zip(found.ks, values, strict=True))
                for name, values in shares.items()
            },
            "eigenvalues": found.eigenvalues,
            "projections": (found.eigenvectors.T @ residual)[:, 0] ** 2,
        }


def _ks():
    return (1, 2, 5, 10, 20, 50, 100, 200, 400, 1000, 4000)


def _measured(epochs):
    """Epochs about evenly spaced in their logarithms, and at the drops."""
    drops = [epochs // 3, 2 * epochs // 3]
    spaced = np.unique(np.geomspace(1, epochs, 16).round().astype(int))
    around = [d + n for d in drops for n in (0, max(epochs // 30, 1))]
    return sorted({*spaced.tolist(), *around, epochs})


def _step_cosine(operator, kernel, outputs, residual, rate):
    """How well the kernel predicts the next step, as a cosine."""
    predicted = -rate / len(residual) * kernel @ residual
    gradients = operator.pull(residual / len(residual))
    moved = dict(zip(map(id, operator.network.weights), gradients, strict=True))
    model = operator.network.model
    values = [
        value - rate * moved[id(variable)] if id(variable) in moved else value
        for variable, value in zip(
            model.variables, operator.values, strict=True
        )
    ]
    operator.values = values
    change = operator.outputs() - outputs
    norms = np.linalg.norm(predicted) * np.linalg.norm(change)
    return float(np.sum(predicted * change) / norms) if norms else float("nan")


def observations(rows: list[dict], steps: int) -> list[dict]:
    """What the paper saw, and whether it is seen here.

    Args:
        rows: Those of `spectrum.jsonl`.
        steps: Integer, of the training.
    """
    rows = [_numbers(row) for row in rows]
    by_step = {row["step"]: row for row in rows}
    first, last = rows[0], rows[-1]
    before = by_step[max(s for s in by_step if s <= steps // 3)]
    after = by_step[min(s for s in by_step if s > steps // 3)]
    early = rows[1]
    rise = last["labels"]["50"] - first["labels"]["50"]
    quick = early["labels"]["50"] - first["labels"]["50"]
    held = min(min(r["outputs"]["100"], r["test_outputs"]["100"]) for r in rows)
    cosine = min(row["step_cosine"] for row in rows)

    def change(name, k):
        return f"{before[name][k]:.3g} → {after[name][k]:.3g}"

    found = [
        (
            "the top 50 come to hold the targets, most of it at once",
            f"{first['labels']['50']:.3g}, {early['labels']['50']:.3g} at step "
            f"{early['step']}, {last['labels']['50']:.3g}",
            last["labels"]["50"] > 0.9 and quick > rise / 2,
        ),
        (
            "the top 100 hold the outputs, of test points too",
            f"{held:.4g} at least",
            held > 0.99,
        ),
        (
            "rate * lambda_1 / N climbs to 2, and halves with the rate",
            f"{before['edge']:.3g} → {after['edge']:.3g}",
            1.5 < before["edge"] < 2.5 and after["edge"] < 1.6,
        ),
        (
            "after the first halving the residual leaves the top 20",
            change("residual", "20"),
            after["residual"]["20"] < before["residual"]["20"] / 4,
        ),
        (
            "there the top 5 hold less of the targets, the top 50 as much",
            f"{change('labels', '5')}; {change('labels', '50')}",
            after["labels"]["5"] < before["labels"]["5"]
            and after["labels"]["50"] > before["labels"]["50"] - 0.02,
        ),
        (
            "the largest eigenvalue grows",
            f"{first['lambda_max']:.4g} → {last['lambda_max']:.4g}",
            last["lambda_max"] > 2 * first["lambda_max"],
        ),
        (
            "a step is what the kernel predicts: cosine",
            f"{cosine:.3g} at least",
            cosine > 0.9,
        ),
    ]
    return [
        {"seen in the paper": what, "here": here, "verdict": _agreed(is_seen)}
        for what, here, is_seen in found
    ]


def _numbers(row):
    """A row with NaN where the file has no number."""
    return {
        key: {k: np.nan if v is None else v for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in row.items()
    }


def _agreed(is_seen):
    return "agreed" if is_seen else "not agreed"


def _table_row(row, ks):
    shown = [k for k in (5, 20, 50, 100) if k in ks]
    return {
        "step": row["step"],
        "loss": row["loss"],
        "edge": row["edge"],
        **{f"E(y, {k})": row["labels"][str(k)] for k in shown},
        "E(f, 10)": row["outputs"]["10"],
        "E(m, 20)": row["residual"]["20"],
        "kta": row["kta"],
        "cosine": row["step_cosine"],
    }


def _draw(rows, ks, x, vectors, figure: Figure):
    axes = figure.subplots(4, 4).ravel()
    steps = [max(row["step"], 1) for row in rows]
    chosen = rows[:: max(len(rows) // 5, 1)]
    for row, color in zip(chosen, COLORS, strict=False):
        axes[0].loglog(row["eigenvalues"], color=color, label=row["step"])
    for i in (0, 1, 4, 9, 19, 49):
        values = np.array([row["eigenvalues"][i] for row in rows])
        speed = [row["rate"] / len(x) for row in rows] * values
        axes[1].loglog(steps, values, label=f"{i + 1}")
        axes[2].semilogx(steps, speed)
        axes[3].semilogx(steps, 1 - np.abs(1 - speed))
    axes[2].axhline(2, color="black", lw=0.8)
    for axis, name in zip(axes[4:8], _SHARES, strict=True):
        for k in (k for k in (5, 10, 20, 50, 100, 400) if k in ks):
            axis.semilogx(steps, [row[name][str(k)] for row in rows], label=k)
    for row, color in zip(chosen, COLORS, strict=False):
        axes[8].loglog(row["projections"], color=color, lw=0.6)
    axes[9].loglog(steps, [row["loss"] for row in rows])
    for number, axis in enumerate((axes[10], axes[11], *axes[12:14])):
        axis.imshow(plane_image(x, vectors[:, number]))
        axis.set_title(f"eigenvector {number + 1}")
        axis.set_axis_off()
    for number, axis in enumerate(axes[14:]):
        axis.imshow(_spectrum_of(x, vectors[:, number]), cmap="gray")
        axis.set_title(f"|FFT| of eigenvector {number + 1}")
        axis.set_axis_off()
    titles = (
        *("eigenvalues, by step", "eigenvalue, by number"),
        *("rate * eigenvalue / N", "speed of learning"),
        *("top k: targets", "top k: outputs", "top k: residual"),
        *("top k: outputs of test points", "residual, by eigenvector", "loss"),
    )
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title)
        axis.grid(True)
        axis.set_xlabel("step")
    for axis in (axes[0], axes[8]):
        axis.set_xlabel("eigenvalue, by size")
    for axis in (axes[0], axes[1], axes[4]):
        axis.legend(fontsize="x-small")


def _spectrum_of(points, values):
    """The middle of the Fourier transform, on a grid of nearest points."""
    gray = plane_image(points, values).astype(float)
    grid = gray[::5, ::5, 0] - gray[::5, ::5, 2]
    size = np.abs(np.fft.fftshift(np.fft.fft2(grid - grid.mean())))
    middle = len(size) // 2
    return size[middle - 12 : middle + 12, middle - 12 : middle + 12]


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
