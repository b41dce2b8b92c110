"""Do unconstrained features reach the minimisers that theory predicts?

    python -m recipes.studies.unconstrained_features

Trains a linear head on features that are free parameters, with every loss
whose minimiser is known, and prints what was predicted above what was reached:
cross-entropy, with label smoothing, the focal loss, the MSE loss without, with
a free and with a decayed bias, and a decay so strong that zero wins.

Hardware and time: two CPU cores, a minute or two.
What to expect is in docs/results.md.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track

import nc_keras
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.results.identity import require_same
from nc_keras.experiments.results.record import write_json
from nc_keras.plot.style import COLORS
from nc_keras.plot.style import INK
from nc_keras.theory import unconstrained_features as theory
from nc_keras.writers.files import writable_directory


@dataclasses.dataclass(frozen=True)
class UnconstrainedFeatures(Study):
    """A head on features that are free parameters, one for each example."""

    dataset: tyro.conf.Suppress[str] = "none"
    per_class: tyro.conf.Suppress[int | None] = None
    test_images: tyro.conf.Suppress[int | None] = None
    data_dir: tyro.conf.Suppress[pathlib.Path] = pathlib.Path("data")

    seed: int = 0
    """Seeds the initial features and heads."""

    epochs: int = 60
    """How often the distance is measured along each training."""

    steps: int = 50
    """Steps between two measurements, each with all examples."""

    classes: int = 10
    """The number of classes, K."""

    examples: int = 10
    """Examples of each class, n."""

    dim: int = 16
    """The dimension of the features, d, at least K."""

    weight_decay: float = 1e-2
    """Weight decay of the head's kernel, positive."""

    feature_decay: float = 5e-4
    """Weight decay of the features, positive."""

    bias_decay: float = 0.2
    """Weight decay of the head's bias where it is not free, positive."""

    label_smoothing: float = 0.1
    """The smoothing of the labels."""

    gamma: float = 3.0
    """The exponent of the focal loss."""

    learning_rate: float = 0.5
    """The learning rate."""

    momentum: float = 0.95
    """Momentum of the optimizer."""

    def __post_init__(self):
        super().__post_init__()
        if self.dim < self.classes:
            raise ValueError(
                "`dim` must be at least `classes`. "
                f"Received: dim={self.dim}, classes={self.classes}."
            )


STUDY = UnconstrainedFeatures("unconstrained_features")


_TRIVIAL_DECAY = 1.0
_REACHED = 1e-4
_MARKERS = "os^Dv*X"
_COLUMNS = {
    "margin": "margin",
    "‖w‖": "weight_norm",
    "‖h‖": "feature_norm",
    "bias": "bias",
    "loss": "loss",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss with its decays, and the minimiser of theory.

    Attributes:
        loss: A Keras loss, of one-hot labels.
        decays: Floats, weight decay of the kernel and of the features.
        bias_decay: Float, or `None` for a head without bias.
        best: The predicted `Minimizer`.
        fixes_bias: Boolean, whether adding a number to all outputs matters.
    """

    loss: Any
    decays: tuple[float, float]
    bias_decay: float | None
    best: theory.Minimizer
    fixes_bias: bool = False


def cases_of(study: UnconstrainedFeatures) -> dict[str, Case]:
    """The losses of the study by their names."""
    decays = study.weight_decay, study.feature_decay
    sizes = study.classes, study.examples
    smoothing, gamma = study.label_smoothing, study.gamma
    ce, mse = nc_keras.losses.CE, nc_keras.losses.MSE("sum")
    focal = keras.losses.CategoricalFocalCrossentropy(
        from_logits=True, alpha=1.0, gamma=gamma
    )
    best = theory.cross_entropy(*sizes, *decays)
    smooth = theory.cross_entropy(*sizes, *decays, smoothing)
    cases = {
        "CE": Case(ce(), decays, 0.0, best),
        "CE, smoothed": Case(
            ce(label_smoothing=smoothing), decays, 0.0, smooth
        ),
        "focal": Case(focal, decays, 0.0, theory.focal(*sizes, *decays, gamma)),
    }
    for name, bias_decay in (
        ("MSE, no bias", None),
        ("MSE, free bias", 0.0),
        ("MSE, bias decay", study.bias_decay),
    ):
        best = theory.mean_squared_error(
            *sizes, *decays, bias_decay, class_reduction="sum"
        )
        cases[name] = Case(mse, decays, bias_decay, best, True)
    strong = _TRIVIAL_DECAY, _TRIVIAL_DECAY
    best = theory.cross_entropy(*sizes, *strong)
    cases["CE, trivial"] = Case(ce(), strong, 0.0, best)
    return cases


def run(study: UnconstrainedFeatures) -> None:
    """Trains every case, and writes what was predicted and reached."""
    writable_directory(study.folder)
    cases = cases_of(study)
    outcomes = {
        name: outcome_of(study, name, case)
        for name, case in track(
            cases.items(), "cases", disable=not study.progress
        )
    }
    rows = []
    for name, outcome in outcomes.items():
        rows.append(_row(name, cases[name].best, outcome["curve"][-1]))
    shown = [_shown(row) for row in rows]
    studies.print_table("Predicted, and below it reached", shown)
    print("Below yes or no: nc2_etf_weights, zero for a simplex ETF.")
    print(said := verdict(rows))
    studies.finish(
        study,
        {"cases": rows, "verdict": said, "curves": outcomes},
        lambda figure: draw(figure, rows, outcomes),
        size=(10.5, 4.2),
    )


def outcome_of(
    study: UnconstrainedFeatures, name: str, case: Case
) -> dict[str, Any]:
    """Trains a case, or reads what an earlier command trained.

    Raises:
        ValueError: If that was with other settings.
    """
    words = name.replace(",", "").split()
    path = study.folder / f"{'_'.join(words).lower()}.json"
    free = ("name", "output", "progress", "data_dir")
    settings = {k: v for k, v in vars(study).items() if k not in free}
    settings["backend"] = keras.backend.backend()
    if path.exists():
        outcome = json.loads(path.read_text())
        require_same(path, outcome["settings"], settings)
        print(f"{name}: finished before, not trained again")
        return outcome
    began = time.perf_counter()
    curve = trained(study, case)
    seconds = time.perf_counter() - began
    outcome = {"settings": settings, "seconds": seconds, "curve": curve}
    write_json(path, outcome)
    return outcome


def trained(study: UnconstrainedFeatures, case: Case) -> list[dict[str, Any]]:
    """Trains a case, and returns what was measured along it."""
    keras.utils.set_random_seed(study.seed)
    model = nc_keras.models.UnconstrainedFeatures(
        study.classes, study.examples, study.dim, *case.decays, case.bias_decay
    )
    model.compile(
        nc_keras.optimizers.SGD(study.learning_rate, study.momentum),
        loss=case.loss,
        steps_per_execution=study.steps,
    )
    x = np.arange(study.classes * study.examples)
    y = np.repeat(np.eye(study.classes, dtype="float32"), study.examples, 0)
    compare = Compare(x, y, case)
    # Many full batches make an epoch: an epoch costs more than a step.
    model.fit(
        np.tile(x, study.steps),
        np.tile(y, (study.steps, 1)),
        batch_size=len(x),
        epochs=study.epochs,
        shuffle=False,
        callbacks=[compare],
        verbose=0,
    )
    return compare.curve


class Compare(keras.callbacks.Callback):
    """Compares features and head with a minimiser, epoch by epoch.

    Args:
        x: Indices of all examples.
        y: Their one-hot labels.
        case: The `Case`.

    Attributes:
        curve: List of dictionaries of what was reached, and how far off.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, case: Case):
        super().__init__()
        self.x, self.y, self.case = x, y, case
        self.curve = []

    def on_train_begin(self, logs=None):
        self._measure(0)

    def on_epoch_end(self, epoch, logs=None):
        self._measure((epoch + 1) * self.params["steps"])

    def _measure(self, step):
        features, kernel, *bias = map(np.float64, self.model.get_weights())
        bias = bias[0] if bias else np.zeros(kernel.shape[1])
        outputs = features @ kernel + bias
        right = outputs[self.y == 1][:, None]
        # Of every example and wrong class: all must be the predicted one.
        found = {
            "margin": (right - outputs)[self.y == 0],
            "weight_norm": np.linalg.norm(kernel, axis=0),
            "feature_norm": np.linalg.norm(features, axis=1),
            "bias": bias if self.case.fixes_bias else bias - bias.mean(),
            "loss": np.array(self._loss(outputs)),
        }
        off = 0.0
        for name, values in found.items():
            predicted = getattr(self.case.best, name)
            worst = np.max(np.abs(values - predicted))
            off = max(off, worst / (predicted or 1.0))
        etf = nc_keras.metrics.collapse_metrics(
            features, self.y.argmax(1), kernel, metrics="nc2_etf_weights"
        )
        self.curve.append(
            {"step": step, "off": float(off), **etf}
            | {name: float(np.mean(values)) for name, values in found.items()}
        )

    def _loss(self, outputs):
        data = self.model.loss(self.y, outputs.astype("float32"))
        return float(data) + sum(map(float, self.model.losses))


def _row(name, best, reached):
    """Predicted and reached values of a case."""
    predicted = dataclasses.asdict(best)
    return {
        "case": name,
        "predicted": {key: predicted[key] for key in _COLUMNS.values()},
        "reached": {key: reached[key] for key in _COLUMNS.values()},
        "off": reached["off"],
        "is_simplex": best.is_simplex,
        "is_trivial": best.is_trivial,
        "nc2_etf_weights": reached["nc2_etf_weights"],
    }


def _shown(row):
    """A row as it is printed."""
    shown = {"case": row["case"]}
    for title, name in _COLUMNS.items():
        both = row["predicted"][name], row["reached"][name]
        shown[title] = "\n".join(f"{_plain(value):.4f}" for value in both)
    shown["off"] = f"{row['off']:.0e}"
    # What is left of a head that vanishes has no shape.
    etf = None if row["is_trivial"] else f"{row['nc2_etf_weights']:.0e}"
    shown["simplex"] = f"{'yes' if row['is_simplex'] else 'no'}\n{etf or '–'}"
    return shown


def _plain(value):
    """A value of four digits, without the sign of a zero."""
    return round(value, 4) + 0.0


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether all reached what was predicted, in words."""
    far = [row["case"] for row in rows if not row["off"] < _REACHED]
    if far:
        return (
            f"Not within {_REACHED:.0e} of the minimiser: {'; '.join(far)}. "
            "More --epochs or another --learning-rate may help."
        )
    worst = max(row["off"] for row in rows)
    return (
        f"All {len(rows)} cases reach the predicted minimiser: margins, norms, "
        f"biases and losses are within {worst:.0e} of it."
    )


def draw(
    figure: Figure,
    rows: Sequence[Mapping[str, Any]],
    outcomes: Mapping[str, Mapping[str, Any]],
) -> None:
    """Draws the way to the minimiser, and predicted over reached values."""
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for index, (name, outcome) in enumerate(outcomes.items()):
        curve = outcome["curve"]
        steps = [point["step"] for point in curve]
        left.plot(
            steps,
            [point["off"] for point in curve],
            color=COLORS[index],
            marker=_MARKERS[index],
            markevery=(2 * index, 14),
            markersize=5,
            label=name,
        )
    left.set(
        title="Largest distance to the predicted minimiser",
        xlabel="gradient steps",
        ylabel="relative (to 1 where 0 is predicted)",
        yscale="log",
    )
    left.legend(fontsize=8)
    _draw_values(right, rows)


def _draw_values(axes: Axes, rows):
    for index, (label, name) in enumerate(list(_COLUMNS.items())[:3]):
        places = np.arange(len(rows)) + 0.22 * (index - 1)
        axes.barh(
            places,
            [row["predicted"][name] for row in rows],
            0.2,
            color=COLORS[index],
            alpha=0.45,
            label=f"{label}, predicted",
        )
        axes.plot(
            [row["reached"][name] for row in rows],
            places,
            "|",
            color=INK,
            markersize=7,
            markeredgewidth=1.5,
            label="reached" if name == "feature_norm" else None,
        )
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
    axes.invert_yaxis()
    axes.set(title="Predicted and reached")
    axes.legend(fontsize=8)


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
