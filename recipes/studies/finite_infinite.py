"""How near are finite networks to infinite ones, and which is better?

    KERAS_BACKEND=jax python -m recipes.studies.finite_infinite

Regresses the labels on few real images with the kernels of ReLU networks of
infinite width, and with trained networks of growing width: alone, centred
(only what training changed), and as ensembles; on pixels and on whitened
pixels. Which observations of Lee et al. 2020 can be seen here?

Hardware and time: two CPU cores, ten minutes.
`--dataset fashion_mnist` takes other images.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json

import keras
import numpy as np
from matplotlib.figure import Figure

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.results.identity import require_same
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.training.resumable import make_deterministic
from nc_keras.plot.style import COLORS
from nc_keras.writers.files import replace_atomically


@dataclasses.dataclass(frozen=True)
class FiniteInfinite(Study):
    """Networks, kernels, and their regularisation."""

    depth: int = 2
    """Hidden layers."""

    widths: tuple[int, ...] = (16, 64, 256, 1024)
    """Units of each hidden layer, of one network after the other."""

    members: int = 4
    """Networks of each width, with other initial weights."""

    batch_size: int = 50
    """Images in a step."""

    learning_rate: float = 0.2
    """The rate of SGD, in the tangent parametrisation the same for all."""

    ridges: tuple[float, ...] = (1e-5, 1e-3, 1e-2, 1e-1, 1.0)
    """Ridges of the kernels, times the mean of their diagonals."""

    whitening: float = 1e-2
    """The regulariser of the whitening (ZCA)."""


STUDY = FiniteInfinite(
    "finite_infinite",
    dataset="digits",
    per_class=50,
    test_images=360,
    epochs=200,
)
_KERNELS = {"NNGP": "covariance", "tangent": "tangent"}


def run(study: FiniteInfinite) -> None:
    """Predicts with kernels and networks, and compares."""
    if study.members < 2 or not study.widths or not study.ridges:
        raise ValueError(
            "Two `members` are needed, and one of `widths` and `ridges`. "
            f"Received: members={study.members}, widths={study.widths}, "
            f"ridges={study.ridges}."
        )
    dataset = studies.load(study)
    data = {
        name: _Regression.of(dataset, whitening)
        for name, whitening in (("pixels", None), ("ZCA", study.whitening))
    }
    make_deterministic()
    identity = study.plain() | {
        "data_digest": dataset.digest,
        "backend": keras.backend.backend(),
    }
    for free in ("widths", "members", "ridges", "output", "progress"):
        del identity[free]
    identity_path = study.folder / "identity.json"
    if identity_path.exists():
        kept = json.loads(identity_path.read_text("utf-8"))
        require_same(study.folder, kept, identity)
    write_json(identity_path, identity)
    kernels = _of_kernels(study, data)
    networks = [
        _of_width(study, name, one, width)
        for name, one in data.items()
        for width in (study.widths if name == "pixels" else study.widths[-1:])
    ]
    studies.print_table(
        "Kernels of infinite width, test accuracy in %", kernels
    )
    studies.print_table("Networks, test accuracy in %", networks)
    observations = _observations(study, kernels, networks, len(dataset.y_test))
    studies.print_table("What Lee et al. observed", observations)
    studies.finish(
        study,
        {"ridges": kernels, "table": networks, "observations": observations},
        functools.partial(_draw, study, kernels, networks),
        (9.0, 3.4),
    )


@dataclasses.dataclass(frozen=True)
class _Regression:
    """Images as rows, and their labels as centred one-hot targets."""

    x: np.ndarray
    targets: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @classmethod
    def of(cls, dataset, whitening):
        x, x_test = (
            images.reshape(len(images), -1) / 255.0
            for images in (dataset.x_train, dataset.x_test)
        )
        if whitening is None:
            mean, deviation = x.mean(), x.std()
            x, x_test = (x - mean) / deviation, (x_test - mean) / deviation
        else:
            whiten = nc_keras.kernel.zca(x, whitening)
            x, x_test = whiten(x), whiten(x_test)
        targets = np.eye(dataset.num_classes)[dataset.y_train]
        targets = targets - 1 / dataset.num_classes
        return cls(x, targets, x_test, dataset.y_test)

    def accuracy(self, outputs: np.ndarray) -> float:
        """The share, in percent, of outputs `(..., N, C)` that decide right."""
        return 100 * float(np.mean(outputs.argmax(axis=-1) == self.y_test))


def _of_kernels(study, data):
    """Accuracies of both kernels, a column for each ridge."""
    infinite = nc_keras.kernel.infinite(study.depth)
    return [
        {"images": name, "kernel": title}
        | {
            f"ridge {ridge:g}": one.accuracy(
                infinite.predict(one.x, one.targets, one.x_test, ridge, kernel)
            )
            for ridge in study.ridges
        }
        for name, one in data.items()
        for title, kernel in _KERNELS.items()
    ]


def _of_width(study, name, data, width):
    """What networks of a width decide, alone, centred, and together."""
    plain, centred = (
        np.stack(
            [
                _member(study, name, data, width, is_centred, member)
                for member in range(study.members)
            ]
        )
        for is_centred in (False, True)
    )
    limit = nc_keras.kernel.infinite(study.depth).predict(
        data.x, data.targets, data.x_test, study.ridges[0]
    )
    together = centred.mean(axis=0)
    size = np.sqrt(np.mean(limit**2))
    return {
        "images": name,
        "width": width,
        "alone": data.accuracy(plain),
        "centred": data.accuracy(centred),
        "ensemble": data.accuracy(plain.mean(axis=0)),
        "centred ensemble": data.accuracy(together),
        "spread": float(plain.std(axis=0, ddof=1).mean()),
        "spread, centred": float(centred.std(axis=0, ddof=1).mean()),
        "distance from infinite": float(
            np.sqrt(np.mean((together - limit) ** 2)) / size
        ),
    }


def _member(study, name, data, width, is_centred, member):
    """The outputs of a trained network for test images, kept on disk."""
    kind = "centred" if is_centred else "plain"
    path = study.folder / f"{name}-{width}-{kind}-{member}.npy"
    if path.exists():
        return np.load(path)
    keras.utils.set_random_seed(study.seed + member)
    model = _network(study, data, width)
    model = nc_keras.models.centered(model) if is_centred else model
    model.compile(nc_keras.optimizers.SGD(study.learning_rate, 0.9), loss="mse")
    model.fit(
        data.x.astype("float32"),
        data.targets.astype("float32"),
        batch_size=study.batch_size,
        epochs=study.epochs,
        verbose=0,
    )
    outputs = model.predict(data.x_test.astype("float32"), verbose=0)
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"Training width {width} diverged. Choose a smaller learning rate. "
            f"Received: learning_rate={study.learning_rate}."
        )
    buffer = io.BytesIO()
    np.save(buffer, outputs)
    replace_atomically(path, lambda path: path.write_bytes(buffer.getvalue()))
    if study.progress:
        print(f"{name}, width {width}, {kind}, {member + 1} of {study.members}")
    return outputs


def _network(study, data, width):
    hidden = [
        nc_keras.layers.TangentDense(width, activation="relu")
        for _ in range(study.depth)
    ]
    outputs = nc_keras.layers.TangentDense(data.targets.shape[1])
    return keras.Sequential([keras.Input(data.x.shape[1:]), *hidden, outputs])


def _observations(study, kernels, networks, images):
    """The observations of Lee et al., and whether each is seen here."""
    by_ridge = [_accuracies(row, study) for row in kernels]
    nngp, tangent, *whitened_kernels = (max(values) for values in by_ridge)
    pixels, whitened = networks[:-1], networks[-1]
    wide = pixels[-1]
    near = [row["distance from infinite"] for row in pixels]
    steady = sum(row["spread, centred"] < row["spread"] for row in pixels)
    best = max(nngp, tangent)
    compared = {
        "Kernels decide better than fully connected networks": (
            best,
            max(row["alone"] for row in pixels),
        ),
        "NNGP decides better than the tangent kernel": (nngp, tangent),
        "Ensembles decide better than their members": (
            wide["ensemble"],
            wide["alone"],
        ),
        "A ridge helps kernels": (
            nngp,
            by_ridge[0][0],
        ),
        "Whitening helps kernels": (max(whitened_kernels), best),
        "Whitening helps networks": (whitened["alone"], wide["alone"]),
    }
    return [
        *(
            {
                "observation": claim,
                "here": _seen(*shares, images),
                "numbers": "{:.1f} % beside {:.1f} %".format(*shares),
            }
            for claim, shares in compared.items()
        ),
        {
            "observation": "Centred networks vary less over initial weights",
            "here": f"in {steady} of {len(pixels)} widths",
            "numbers": f"{wide['spread, centred']:.2g} beside "
            f"{wide['spread']:.2g} at width {wide['width']}",
        },
        {
            "observation": "Wider networks are nearer to the infinite one",
            "here": "agreed" if near == sorted(near)[::-1] else "not seen",
            "numbers": f"{near[0]:.2g} to {near[-1]:.2g} of its outputs",
        },
    ]


def _seen(more, less, images):
    """Whether one share is larger by more than both standard errors."""
    errors = [np.sqrt(p * (100 - p) / images) for p in (more, less)]
    if abs(more - less) <= np.hypot(*errors):
        return "cannot tell"
    return "agreed" if more > less else "not seen"


def _accuracies(row, study):
    return [row[f"ridge {ridge:g}"] for ridge in study.ridges]


def _draw(study, kernels, networks, figure: Figure) -> None:
    first, second, third = figure.subplots(1, 3)
    for index, row in enumerate(kernels):
        first.plot(
            study.ridges,
            _accuracies(row, study),
            "-" if row["images"] == "pixels" else "--",
            color=COLORS[index % len(_KERNELS)],
            label=f"{row['kernel']}, {row['images']}",
        )
    first.set(xscale="log", xlabel="ridge", ylabel="test accuracy, %")
    pixels = [row for row in networks if row["images"] == "pixels"]
    widths = [row["width"] for row in pixels]
    kinds = ("alone", "centred", "ensemble", "centred ensemble")
    for color, kind in zip(COLORS, kinds, strict=False):
        second.plot(
            widths, [row[kind] for row in pixels], "o-", color=color, label=kind
        )
    second.set(xscale="log", xlabel="width", ylabel="test accuracy, %")
    third.plot(
        widths,
        [row["distance from infinite"] for row in pixels],
        "o-",
        color=COLORS[0],
        label="centred ensemble",
    )
    third.set(
        xscale="log",
        yscale="log",
        xlabel="width",
        ylabel="distance from the infinite network",
    )
    for axis in (first, second, third):
        axis.grid(True)
        axis.legend()


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
