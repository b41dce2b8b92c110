"""Do the classifiers of rare classes become one where theory says?

    KERAS_BACKEND=jax python -m recipes.studies.minority_collapse

Trains an MLP on digits of which the last five classes are rare, with decay of
its head and its features, to the minimum. The theory of unconstrained features
says from which decay on the classifiers of the rare classes are the same,
`l_0 = sqrt(n) / N`, and how they lie before: each training has a decay below
or above, and is drawn over the curve that is predicted.

The features are linear. Behind a ReLU such trainings end in bad minima.

Hardware and time: two CPU cores, two minutes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

import nc_keras
from nc_keras.experiments import datasets
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.theory import unconstrained_features

# What is shown of head and means: a title, and the values that it is of.
_SHOWN = {
    "cosine, rare": "cos_minority",
    "cosine, frequent": "cos_majority",
    "square, rare": "square_minority",
    "square, frequent": "square_majority",
}
# As close as a training of that length comes; next to the threshold less.
_CLOSE = 0.01
_ZERO = 1e-6


@dataclasses.dataclass(frozen=True)
class MinorityCollapse(Study):
    """A network, its classes, and decays around the threshold."""

    ratio: float = 6.5
    """Images of a frequent class for one of a rare class."""

    minority: int = 5
    """How many of the last classes are rare."""

    widths: tuple[int, ...] = (256, 256)
    """Units of each hidden layer."""

    features: int = 64
    """Linear features below the head."""

    weight_decay: float = 5e-3
    """Decay of the head, `lw`; that of the features follows."""

    decays: tuple[float, ...] = (0.4, 0.6, 0.8, 1.2)
    """The geometric mean of both decays, over the threshold's."""

    learning_rate: float = 2e-3
    """The first rate of Adam, which falls to zero as half a cosine."""

    steps: int = 2500
    """Steps, each with all images."""


STUDY = MinorityCollapse(
    "minority_collapse", dataset="digits", per_class=130, epochs=50
)


@keras.saving.register_keras_serializable(package="nc_keras_studies")
class FeatureDecay(keras.layers.Layer):
    """Adds `decay / 2` times the squares of a batch's features to the loss.

    Summed over the examples: Keras' own activity regularizers take the mean.

    Args:
        decay: Float.
        **kwargs: Base layer keyword arguments, such as `name`.
    """

    def __init__(self, decay: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.decay = decay

    def call(self, inputs):
        self.add_loss(self.decay / 2 * ops.sum(ops.square(inputs)))
        return inputs

    def get_config(self):
        return {**super().get_config(), "decay": self.decay}


def run(study: MinorityCollapse) -> None:
    """Trains each decay, prints a table, and draws it over the prediction."""
    _require_whole(study)
    dataset = datasets.imbalance(
        studies.load(study), "step", study.ratio, study.minority
    )
    counts = np.bincount(dataset.y_train)
    threshold = math.sqrt(counts.min()) / counts.sum()
    points = [
        _point(study, dataset, counts, share, share * threshold)
        for share in study.decays
    ]
    rows = [_row(point) for point in points]
    studies.print_table("Trained / predicted", rows)
    claims = [_claim(point) for point in points]
    for sentence in claims:
        print(f"• {sentence}")
    shares = np.linspace(0.1, max(1.6, *study.decays), 60)
    curve = [
        {"share": float(share)}
        | _predicted(study, counts, float(share) * threshold)
        for share in shares
    ]
    studies.finish(
        study,
        {"table": rows, "verdict": claims, "points": points, "curves": curve},
        functools.partial(_draw, curve, points),
        (8.0, 3.6),
    )


def _require_whole(study):
    if study.steps % study.epochs or not study.decays:
        raise ValueError(
            "`steps` must be a multiple of `epochs`, and `decays` not empty. "
            f"Received: steps={study.steps}, epochs={study.epochs}, "
            f"decays={study.decays}."
        )


def _point(study, dataset, counts, share, decay):
    """One training, and what is predicted of it."""
    feature_decay = decay**2 / study.weight_decay
    train = functools.partial(_trained, study, dataset, share)
    # With a tenth of the decays first: else rare classes may never be learned.
    first = train("start", max(study.epochs // 6, 1), feature_decay, 0.1)
    model = train("decay", study.epochs, feature_decay, 1.0, first)
    below = keras.Model(model.inputs, model.layers[-1].input)
    features = below.predict(dataset.x_train, verbose=0)
    weights = np.asarray(model.layers[-1].get_weights()[0], float).T
    own = study.weight_decay * np.linalg.norm(weights)
    own /= np.linalg.norm(np.asarray(features, float))
    found = _geometry(weights, len(counts) - study.minority)
    return {
        "share": share,
        "trained": found,
        "predicted": _predicted(study, counts, decay),
        "own decay": own / decay,
    }


def _trained(
    study, dataset, share, name, epochs, feature_decay, scale, first=None
):
    settings = ("ratio", "minority", "widths", "features", "weight_decay")
    settings += ("learning_rate", "steps")

    def build():
        model = _build(study, dataset, scale, scale * feature_decay)
        if first is not None:
            model.set_weights(first.get_weights())
        return model

    def rate_at(epoch):
        done = epoch / epochs if scale == 1 else 0.0
        return study.learning_rate * (1 + math.cos(math.pi * done)) / 2

    model, _ = studies.train(
        study,
        f"{name}-{share:g}",
        build,
        dataset,
        batch_size=len(dataset.y_train),
        epochs=epochs,
        settings={name: getattr(study, name) for name in settings}
        | {"share": share},
        rate_at=rate_at,
        steps_per_epoch=study.steps // study.epochs,
    )
    return model


def _build(study, dataset, scale, feature_decay) -> keras.Model:
    layers = [keras.layers.Flatten()]
    layers += [keras.layers.Dense(w, "relu") for w in study.widths]
    layers += [
        keras.layers.Dense(study.features),
        FeatureDecay(feature_decay),
        keras.layers.Dense(
            dataset.num_classes,
            use_bias=False,
            kernel_regularizer=keras.regularizers.L2(
                scale * study.weight_decay / 2
            ),
        ),
    ]
    mean, deviation = dataset.pixel_statistics()
    model = keras.Sequential(
        [
            keras.Input(dataset.image_shape),
            nc_keras.layers.Standardization(mean, deviation),
            *layers,
        ]
    )
    model.compile(
        keras.optimizers.Adam(study.learning_rate),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def _predicted(study, counts, decay):
    best = unconstrained_features.cross_entropy(
        len(counts),
        counts.tolist(),
        study.weight_decay,
        decay**2 / study.weight_decay,
    )
    return _geometry(best.weights, len(counts) - study.minority)


def _geometry(weights, majority):
    """Cosines and squares of the frequent and the rare classifiers."""
    found = {}
    for name, rows in (
        ("majority", weights[:majority]),
        ("minority", weights[majority:]),
    ):
        squares = np.sum(rows**2, axis=1)
        # What is next to zero has no direction.
        squares[squares < _ZERO * np.sum(weights**2)] = np.nan
        cosines = rows @ rows.T / np.sqrt(np.outer(squares, squares))
        off = cosines[~np.eye(len(rows), dtype=bool)]
        found[f"cos_{name}"] = float(off.mean()) if off.size else math.nan
        found[f"square_{name}"] = float(np.nan_to_num(squares).mean())
    return found


def _row(point):
    both = point["trained"], point["predicted"]
    return {
        "l / l_0": point["share"],
        **{
            title: " / ".join(f"{one[key]:.3f}" for one in both)
            for title, key in _SHOWN.items()
        },
        "own l / l": point["own decay"],
    }


def _claim(point):
    """Whether the cosine between rare classes is the one predicted."""
    found = point["trained"]["cos_minority"]
    expected = point["predicted"]["cos_minority"]
    # Zero classifiers have no cosine, in training and in theory.
    is_close = np.isclose(found, expected, 0.0, _CLOSE, equal_nan=True)
    verdict = "agreed" if is_close else "not agreed"
    side = "below" if point["share"] < 1 else "from"
    return (
        f"l = {point['share']:g} l_0, {side} the threshold: the cosine "
        f"between rare classes is {found:.3f}, predicted {expected:.3f}: "
        f"{verdict}."
    )


def _draw(curve, points, figure: Figure):
    axes = figure.subplots(1, 2)
    for axis, quantity, title in zip(
        axes, ("cos", "square"), ("cosine", "square of the norm"), strict=True
    ):
        for name, label, color in zip(
            ("minority", "majority"), ("rare", "frequent"), COLORS, strict=False
        ):
            key = f"{quantity}_{name}"
            axis.plot(
                [one["share"] for one in curve],
                [one[key] for one in curve],
                color=color,
                label=f"{label}, predicted",
            )
            axis.plot(
                [one["share"] for one in points],
                [one["trained"][key] for one in points],
                "o",
                color=color,
                label=f"{label}, trained",
            )
        axis.axvline(1.0, color="black", lw=0.8, ls=":")
        axis.set_title(f"classifiers: {title}")
        axis.set_xlabel("decay over its threshold")
        axis.grid(True)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=4,
        loc="outside lower center",
    )


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
