"""Are the examples that a network forgets those far from their class mean?

    KERAS_BACKEND=jax python -m recipes.studies.forgetting

Trains an MLP past the epoch of zero training error and counts exactly how
often each training image is forgotten: right when it came, wrong when it came
again (Toneva et al. 2019). Compares this with how far its features are from
their class mean at the end, and trains again without the 30 % that were
forgotten least, and without as many that were drawn at random.

Hardware and time: two CPU cores, three minutes.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import scipy.stats
from keras import ops
from matplotlib.figure import Figure

import nc_keras
from nc_keras import forgetting
from nc_keras.experiments import studies
from nc_keras.experiments import variants
from nc_keras.experiments.options.schedule import stepped_rate
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS


@dataclasses.dataclass(frozen=True)
class Forgetting(Study):
    """A network, and what is left out of its training set."""

    drop: float = 0.3
    """The share of training images that is left out."""

    widths: tuple[int, ...] = (256, 128)
    """Units of each hidden layer."""

    batch_size: int = 100
    """Images in a step."""

    learning_rate: float = 0.05
    """The rate of SGD, which drops by ten at 1/2 and 3/4 of the epochs."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""


STUDY = Forgetting("forgetting", per_class=1000, epochs=60)


def run(study: Forgetting) -> None:
    """Trains with all images, counts, and trains with some of them."""
    if not 0 < study.drop < 1:
        raise ValueError(
            f"`drop` must be in (0, 1). Received: drop={study.drop}."
        )
    dataset = studies.load(study)
    whole = _with_places(dataset)
    curves = {"all images": _train(study, whole, "all")}
    model = keras.saving.load_model(study.folder / "all" / "model.keras")
    found = forgetting.result(model)
    distances = _distances(model, whole)
    left_out = int(study.drop * dataset.num_train)
    kept = {
        "without the least forgotten": found.order[left_out:],
        "without random ones": np.random.default_rng(study.seed).permutation(
            dataset.num_train
        )[left_out:],
    }
    for name, rows in kept.items():
        part = _with_places(dataset.select(np.sort(rows)))
        folder = name.replace(" ", "_")
        curves[name] = _train(study, part, folder)
    facts = _facts(found, distances)
    studies.print_table("Forgetting events of the training images", [facts])
    rows = variants.table(curves)
    studies.print_table(
        f"{study.dataset}: first measured → at zero training error → at the "
        "end",
        rows,
        across=True,
    )
    claims = _claims(facts, curves)
    for sentence in claims:
        print(f"• {sentence}")
    studies.finish(
        study,
        {"table": rows, "forgetting": facts, "verdict": claims},
        functools.partial(_draw, found, distances),
        (5.0, 3.6),
    )


def _with_places(dataset):
    """The images as rows of floats, each with its place at the end.

    A test image has none, -1.
    """
    whole = dataset.standardized()

    def rows(x, places):
        flat = x.reshape(len(x), -1)
        return np.concatenate([flat, places[:, None]], axis=1, dtype="float32")

    return dataclasses.replace(
        whole,
        x_train=rows(whole.x_train, np.arange(whole.num_train)),
        x_test=rows(whole.x_test, np.full(whole.num_test, -1)),
    )


def _train(study, dataset, name):
    settings = ("widths", "learning_rate", "weight_decay")
    (rows,) = variants.train_each(
        study,
        dataset,
        {name: functools.partial(_build, study, dataset)},
        batch_size=study.batch_size,
        settings={key: getattr(study, key) for key in settings},
        rate_at=lambda epoch: stepped_rate(
            study.learning_rate, epoch, study.epochs, (1 / 2, 3 / 4)
        ),
    ).values()
    return rows


def _build(study, dataset) -> keras.Model:
    inputs = keras.Input(dataset.image_shape)
    images, places = inputs[:, :-1], ops.cast(inputs[:, -1], "int32")
    network = nc_keras.models.MLP(
        images.shape[1:], dataset.num_classes, study.widths
    )
    recorder = nc_keras.layers.ForgettingRecorder(dataset.y_train)
    model = keras.Model(inputs, recorder(network(images), places))
    model.compile(
        nc_keras.optimizers.SGD(study.learning_rate, 0.9, study.weight_decay),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def _distances(model, dataset):
    """How far features are from their class mean, over the mean of these."""
    h, y = nc_keras.FeatureExtractor(model)(dataset.x_train, dataset.y_train)
    statistics = nc_keras.metrics.ClassStatistics.from_features(h, y)
    distances = np.linalg.norm(h - statistics.means[y], axis=1)
    return distances / distances.mean()


def _facts(found, distances):
    events = found.events[found.learned]
    order = scipy.stats.spearmanr(found.scores, distances).statistic
    never = found.unforgettable
    return {
        "never learned, %": 100 * float(np.mean(~found.learned)),
        "unforgettable, %": 100 * float(np.mean(never)),
        "most events": int(events.max()),
        "distance, unforgettable": float(distances[never].mean()),
        "distance, others": float(distances[~never].mean()),
        "rank correlation": float(order),
    }


def _claims(facts, curves):
    tests = {
        name: 100 * rows[-1]["val_nc_accuracy"] for name, rows in curves.items()
    }
    least, random = (
        tests[f"without {kind}"]
        for kind in ("the least forgotten", "random ones")
    )
    near, far = (
        facts[f"distance, {kind}"] for kind in ("unforgettable", "others")
    )
    return [
        f"forgotten images end further from their class mean ({far:.2f} of the "
        f"mean distance, others {near:.2f}; rank correlation "
        f"{facts['rank correlation']:.2f}): {_seen(far > near)}.",
        f"test accuracy {tests['all images']:.1f} % with all images, "
        f"{least:.1f} % without the least forgotten, {random:.1f} % without "
        f"random ones: leaving out what is never forgotten costs less: "
        f"{_seen(least > random)}, with one seed.",
    ]


def _seen(is_seen):
    return "agreed" if is_seen else "not agreed"


def _draw(found, distances, figure: Figure):
    axis = figure.subplots()
    events = np.minimum(found.events, 10)
    groups = [distances[events == n] for n in range(11)]
    places = [n for n, group in enumerate(groups) if len(group)]
    medians = np.array([np.median(groups[n]) for n in places])
    quartiles = np.array([np.quantile(groups[n], (0.25, 0.75)) for n in places])
    axis.errorbar(
        places,
        medians,
        np.abs(quartiles.T - medians),
        fmt="o",
        color=COLORS[0],
        capsize=2,
    )
    axis.set(
        xlabel="forgetting events (10: or more)",
        ylabel="distance from the class mean / its mean",
        title="median and quartiles at the last epoch",
    )
    axis.grid(True)


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
