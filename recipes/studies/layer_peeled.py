"""When do the classifiers of rare classes become one?

    KERAS_BACKEND=jax python -m recipes.studies.layer_peeled

Figure 3 of Fang, He, Long and Su (2021): the cosine between the classifiers of
two minority classes, in the Layer-Peeled Model of ten classes, over the ratio
R of majority to minority examples. Nothing is trained: each point is the
minimiser of a convex program. The thresholds from which the classifiers
coincide, and from which they are zero, are drawn over them.

Hardware and time: one CPU core, seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from matplotlib.figure import Figure

from nc_keras import theory
from nc_keras.experiments import studies
from nc_keras.experiments.options.study import Study
from nc_keras.plot.style import COLORS
from nc_keras.writers.files import writable_directory

# Examples per minority class: enough for ratios that are no integers.
_FEW = 10_000
_SHOWN = (1, 10, 100, 1000, 10_000)


@dataclasses.dataclass(frozen=True)
class LayerPeeled(Study):
    """How many classes are frequent, and the radii of the two balls."""

    classes: int = 10
    """Classes."""

    majorities: tuple[int, ...] = (3, 5, 7)
    """How many of the classes are frequent, one curve each."""

    e_w: float = 1.0
    """Mean square of a classifier."""

    e_h: float = 5.0
    """Mean square of a class mean."""

    points: int = 41
    """Ratios, from 1 to 10,000."""


STUDY = LayerPeeled("layer_peeled", dataset="none")


def run(study: LayerPeeled) -> None:
    """Solves the programs, prints a table, and draws the curves."""
    writable_directory(study.folder)
    _require_two_groups(study)
    ratios = np.geomspace(1, 10_000, study.points)
    curves = {
        str(many): [_point(study, many, ratio) for ratio in ratios]
        for many in study.majorities
    }
    thresholds = {
        str(many): theory.minority_threshold(
            many, study.classes - many, study.e_w, study.e_h
        )
        for many in study.majorities
    }
    rows = [
        _row(study, many, thresholds[str(many)]) for many in study.majorities
    ]
    studies.print_table("Cosine between minority classifiers", rows)
    claims = [
        _claim(name, curve, thresholds[name].coincide)
        for name, curve in curves.items()
    ]
    for sentence in claims:
        print(f"• {sentence}")
    studies.finish(
        study,
        {"table": rows, "verdict": claims, "curves": curves},
        functools.partial(_draw, curves, thresholds),
        (6.0, 4.0),
    )


def _require_two_groups(study):
    for many in study.majorities:
        if not 1 <= many <= study.classes - 2:
            raise ValueError(
                "Each of `majorities` must leave two classes for the minority "
                "or more, for a cosine is between two. Received: "
                f"majorities={study.majorities}, classes={study.classes}."
            )
    if not study.majorities or study.points < 2:
        raise ValueError(
            "A curve needs one of `majorities`, and two `points` or more. "
            f"Received: majorities={study.majorities}, points={study.points}."
        )


def _point(study, many, ratio):
    counts = [round(_FEW * ratio)] * many + [_FEW] * (study.classes - many)
    best = theory.layer_peeled(counts, study.e_w, study.e_h)
    squares = np.sum(best.weights**2, axis=1)
    cosine = float(best.weight_cosines[-1, -1])
    return {
        "ratio": float(ratio),
        "cosine": None if math.isnan(cosine) else cosine,
        "majority": float(squares[0]),
        "minority": float(squares[-1]),
        "collapsed": bool(best.collapsed[-1]),
    }


def _row(study, many, threshold):
    cosines = {
        f"R = {ratio:,}": _point(study, many, ratio)["cosine"]
        for ratio in _SHOWN
    }
    return {
        "frequent classes": many,
        **cosines,
        "coincide from R": threshold.coincide,
        "zero from R": (
            threshold.vanish if math.isfinite(threshold.vanish) else "never"
        ),
    }


def _claim(name, curve, threshold):
    """Whether they collapse, from the threshold on and nowhere before."""
    is_right = all(
        point["collapsed"] == (point["ratio"] >= threshold) for point in curve
    )
    cosines = [p["cosine"] for p in curve if p["cosine"] is not None]
    is_rising = bool(np.all(np.diff(cosines) > -1e-9))
    verdict = "agreed" if is_right and is_rising else "not agreed"
    return (
        f"{name} frequent classes: minority classifiers come together as R "
        f"grows, and are one from {threshold:.4g} on: {verdict}."
    )


def _draw(curves, thresholds, figure: Figure):
    axis = figure.subplots()
    for (name, curve), color in zip(curves.items(), COLORS, strict=False):
        shown = [point for point in curve if point["cosine"] is not None]
        axis.plot(
            [point["ratio"] for point in shown],
            [point["cosine"] for point in shown],
            color=color,
            label=f"{name} frequent classes",
        )
        axis.axvline(thresholds[name].coincide, color=color, ls=":")
        if math.isfinite(thresholds[name].vanish):
            axis.axvline(thresholds[name].vanish, color=color, ls="--")
    axis.set_xscale("log")
    axis.set_xlabel("examples of a frequent class for one of a rare class")
    axis.set_ylabel("cosine between minority classifiers")
    axis.grid(True)
    axis.legend()


if __name__ == "__main__":
    studies.main(STUDY, __doc__, run)
