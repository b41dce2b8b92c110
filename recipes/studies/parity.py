"""Are these the numbers that the authors' notebook draws?

    python tools/prepare_dataset.py mnist --archives DIR
    python -m recipes.studies.parity

Trains a small MLP on 1,200 MNIST images per class with cross-entropy and with
the MSE loss, and computes neural collapse twice from the same features: as
this library does, and by the formulas of the notebook of Papyan, Han and
Donoho (github.com/neuralcollapse/neuralcollapse), in float32, with loops over
classes and D x D matrices, as it has them.

Hardware and time: two CPU cores, a minute. What to expect is in
docs/results.md.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
from scipy.sparse.linalg import svds

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study


@dataclasses.dataclass(frozen=True)
class Parity(Study):
    """A network with batch normalisation, and how it is trained."""

    widths: tuple[int, ...] = (256, 128)
    """Units of each hidden layer."""

    batch_size: int = 128
    """Images in a step."""

    learning_rate: float = 0.05
    """The constant learning rate."""

    momentum: float = 0.9
    """The momentum of SGD."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = Parity("parity", dataset="mnist", per_class=1200, epochs=12)


_LOSSES = {"ce": nc_keras.losses.CE, "mse": nc_keras.losses.MSE}
# What the notebook calls a number, and what it is here; it leaves out the 1/C
# of NC1.
_NAMES = {
    "Sw_invSb": "C nc1",
    "norm_M_CoV": "nc2_equinorm_means",
    "norm_W_CoV": "nc2_equinorm_weights",
    "cos_M": "nc2_max_angle_means",
    "cos_W": "nc2_max_angle_weights",
    "W_M_dist": "nc3",
    "NCC_mismatch": "nc4",
    "LNC1": "mse_decomposition().nc1",
    "LNC23": "mse_decomposition().nc23",
    "Lperp": "mse_decomposition().perp",
}


def run(study: Parity) -> None:
    """Trains with both losses, and prints both numbers side by side."""
    dataset = studies.load(study)
    # The notebook's parts of the MSE loss are for classes of equal size.
    studies.require_balanced(dataset)
    rows = []
    for loss in _LOSSES:
        model, _ = studies.train(
            study,
            loss,
            functools.partial(_build, study, dataset, loss),
            dataset,
            batch_size=study.batch_size,
            settings={
                name: getattr(study, name)
                for name in (
                    *("widths", "learning_rate", "momentum", "weight_decay"),
                )
            },
            measured=[study.epochs],
        )
        extractor = nc_keras.FeatureExtractor(model)
        features, labels = extractor(dataset.x_train, dataset.y_train)
        layer = model.layers[-1].layers[-1]
        head = [keras.ops.convert_to_numpy(w) for w in layer.weights]
        decay = study.weight_decay / 2
        theirs = by_notebook(features, labels, *head, decay)
        ours = by_library(features, labels, *head, decay)
        rows += [
            {
                "loss": loss,
                "notebook": name,
                "nc_keras": _NAMES[name],
                "theirs": float(theirs[name]),
                "ours": ours[name],
                "relative difference": _difference(theirs[name], ours[name]),
            }
            for name in _NAMES
            if loss == "mse" or not name.startswith("L")
        ]
    studies.print_table(f"{study.dataset}, both from the same features", rows)
    studies.finish(study, {"rows": rows})


def by_library(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    decay: float,
) -> dict[str, float]:
    """Returns the numbers of this library, by the notebook's names.

    Args:
        features: Array of shape `(N, D)`.
        labels: Integers of shape `(N,)`.
        kernel: Array of shape `(D, C)`.
        bias: Array of shape `(C,)`.
        decay: The factor of the penalty in the parts of the MSE loss.
    """
    found = nc_keras.metrics.collapse_metrics(features, labels, kernel, bias)
    parts = nc_keras.metrics.mse_decomposition(
        features, labels, kernel, bias, decay
    )
    values = found | {
        "C nc1": kernel.shape[1] * found["nc1"],
        **{
            f"mse_decomposition().{name}": getattr(parts, name)
            for name in ("nc1", "nc23", "perp")
        },
    }
    return {name: float(values[key]) for name, key in _NAMES.items()}


def by_notebook(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    decay: float,
) -> dict[str, float]:
    """Returns the same by the notebook's formulas, in float32.

    Arguments are as in `by_library`.
    """
    h, weights = np.float32(features), np.float32(kernel.T)
    classes = len(weights)
    members = [h[labels == c] for c in range(classes)]
    means = np.stack([one.mean(0) for one in members])
    centred = [one - mean for one, mean in zip(members, means, strict=True)]
    within = sum(one.T @ one for one in centred) / np.float32(len(h))
    middle = means.mean(0)
    deviations = means - middle
    between = deviations.T @ deviations / np.float32(classes)
    vectors, values, _ = svds(between, k=classes - 1)
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    nearest = [
        np.linalg.norm(one[:, None] - means, axis=2).argmin(1)
        for one in members
    ]
    decided = [(one @ weights.T + bias).argmax(1) for one in members]
    mismatch = sum(
        np.sum(a != b) for a, b in zip(nearest, decided, strict=True)
    )
    return {
        "Sw_invSb": np.trace(within @ inverse),
        "norm_M_CoV": _variation(deviations),
        "norm_W_CoV": _variation(weights),
        "cos_M": _coherence(deviations),
        "cos_W": _coherence(weights),
        "W_M_dist": np.linalg.norm(
            weights / np.linalg.norm(weights)
            - deviations / np.linalg.norm(deviations)
        )
        ** 2,
        "NCC_mismatch": mismatch / len(h),
        **_parts(within, between, means, weights, np.float32(bias), decay),
    }


def _variation(rows):
    norms = np.linalg.norm(rows, axis=1)
    return norms.std(ddof=1) / norms.mean()


def _coherence(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gram = unit @ unit.T + np.float32(1 / (len(rows) - 1))
    np.fill_diagonal(gram, 0)
    return np.abs(gram).sum() / (len(rows) * (len(rows) - 1))


def _parts(within, between, means, weights, bias, decay):
    """The parts of the MSE loss, with the head that would be best."""
    classes, dim = means.shape
    decay = np.float32(decay)
    middle = means.mean(0)
    total = within + between
    outer = np.outer(middle, middle)
    ridge = decay * np.eye(dim, dtype="float32")
    inverse = np.linalg.inv(total + decay / (1 + decay) * outer + ridge)
    best = (means - middle / (1 + decay)) @ inverse / np.float32(classes)
    best_bias = (np.float32(1 / classes) - best @ middle) / (1 + decay)
    missed = best @ means.T + best_bias[:, None] - np.eye(classes)
    away = np.hstack([weights - best, (bias - best_bias)[:, None]])
    second = np.block(
        [
            [total + outer + ridge, middle[:, None]],
            [middle[None], np.full((1, 1), 1 + decay)],
        ]
    )
    return {
        "LNC1": 0.5
        * (
            np.trace(best @ (within + ridge) @ best.T)
            + decay * np.sum(best_bias**2)
        ),
        "LNC23": 0.5 / classes * np.sum(missed**2),
        "Lperp": 0.5 * np.trace(away @ second @ away.T),
    }


def _difference(theirs, ours):
    difference = abs(theirs - ours)
    return float(difference / abs(theirs) if theirs else difference)


def _build(study, dataset, loss):
    network = nc_keras.models.MLP(
        dataset.image_shape, dataset.num_classes, study.widths
    )
    model = studies.standardized(dataset, network)
    optimizer = nc_keras.optimizers.SGD(
        study.learning_rate, study.momentum, study.weight_decay
    )
    model.compile(optimizer, _LOSSES[loss](), metrics=["accuracy"])
    return model


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
