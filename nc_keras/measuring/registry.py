"""The metrics by tag. A new one is a function with `@metric` in a file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

OVER = ("layer", "pairs", "weight_pairs", "examples")
_NEEDS = {
    "kernel": "the head's weights",
    "means": "the class means",
    "train_means": "the class means of the training set, `train_means`",
    "scatter": "the within-class covariance",
    "principal_variances": "variances along the directions of the means",
    "principal_scatter": "the covariance along the directions of the means",
    "ood": "features of out-of-distribution data, `ood`",
    "class_sizes": "the training examples of each class, `train_counts`",
    "training_set": "the training set, not another one beside it",
}


# What a metric is about: its heading in a report, and on TensorBoard's page.
GROUPS = {
    "NC1": (
        "NC1  features become their class means",
        "NC1 variability collapse",
    ),
    "NC2": (
        "NC2  class means, and the head's rows, become a simplex ETF",
        "NC2 convergence to a simplex ETF (class means and head)",
    ),
    "NC3": (
        "NC3  the head's rows become the class means",
        "NC3 self-duality",
    ),
    "NC4": (
        "NC4  the head decides as the nearest class mean does",
        "NC4 nearest class mean",
    ),
    "NC0": ("NC0  the head's rows add up to zero", "NC3 self-duality"),
    "Accuracy": ("Accuracy", "NC4 nearest class mean"),
    "Imbalance": ("Unequal classes", "Imbalance"),
    "OOD": ("Out of distribution", "Out of distribution"),
    "Others": ("Others", "Other metrics"),
}


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: a function of the last layer, of pairs, or of examples.

    Attributes:
        tag: String, the key of the value wherever it is reported.
        function: Of a `LastLayer`, of `Pairs` or of `Examples`.
        over: `"layer"`, `"pairs"`, `"weight_pairs"` or `"examples"`, see
            `metric`.
        reduce: What is made of the values of pairs or examples, see `metric`.
        needs: What it cannot do without, see `metric`.
        default: Boolean, whether it is measured unless others are chosen.
        degrees: The powers by which it grows with features and head, or
            `None` where it grows by none.
        group: String, one of `GROUPS`: under which heading it is shown.
        title: String, the heading of its chart, which it may share.
        note: String, what it is, in 30 letters.
        goal: String, what it goes to as a network collapses.
        scale: String, `"log"` where curves of it need a logarithmic axis.
        formula: String, for the tables of the documents.
        source: String, where the formula is from.
        limits: Two numbers, up to which `nc_keras.verdict` says "collapsed"
            and "partly"; or `None`, and it does not look at the metric.
    """

    tag: str
    function: Callable[[Any], Any]
    over: str = "layer"
    reduce: str | Callable[[Any, Any], Any] = "mean"
    needs: frozenset[str] = frozenset()
    default: bool = True
    degrees: tuple[int, int] | None = (0, 0)
    group: str = "Others"
    title: str = ""
    note: str = ""
    goal: str = ""
    formula: str = ""
    source: str = ""
    scale: str = "linear"
    limits: tuple[float, float] | None = None

    @property
    def per_class(self) -> bool:
        """Whether the value is an array with one entry per class."""
        return self.tag.startswith("per_class_")


METRICS: dict[str, Metric] = {}


def metric(
    tag: str,
    *needs: str,
    over: str = "layer",
    reduce: str | Callable[[Any, Any], Any] = "mean",
    default: bool = True,
    degrees: tuple[int, int] | None = (0, 0),
    group: str = "Others",
    title: str = "",
    note: str = "",
    goal: str = "",
    formula: str = "",
    source: str = "",
    scale: str = "linear",
    limits: tuple[float, float] | None = None,
) -> Callable[[Callable], Callable]:
    """Registers a function as the metric `tag`.

    Args:
        tag: String, the key of the value wherever it is reported. Those of
            one value per class begin with `per_class_`.
        *needs: What it cannot do without: `"kernel"`, `"means"` (of examples
            only: the final class means), `"train_means"`, `"class_sizes"`,
            `"scatter"`, `"principal_variances"`, `"principal_scatter"`,
            `"ood"`, `"training_set"`. Where that is lacking, the metric is
            left out.
        over: `"layer"` for a function of a `LastLayer`. `"pairs"` for an
            elementwise function of `Pairs`, whose values are reduced over all
            pairs of classes with examples; `"weight_pairs"` if it is of the
            head alone, over all classes. `"examples"` for a function of
            `Examples` that returns one value per example.
        reduce: `"mean"`; or `"variance"`, for pairs; or, for examples,
            `"classes"`, the mean of each class, or a function of the
            `LastLayer` and of these means.
        default: Boolean, whether it is measured unless others are chosen.
        degrees: The powers of a factor of all features, and of one of the
            head, by which the value grows. Features and heads beyond 1e30 or
            below 1e-30 are measured after a division, which that undoes;
            `None` where it cannot, and the value is NaN then.
        group: One of `"NC1"`, `"NC2"`, `"NC3"`, `"NC4"`, `"NC0"`,
            `"Accuracy"`, `"Imbalance"`, `"OOD"`, `"Others"`: under which
            heading reports and panels show it.
        title: String, the heading of its chart in TensorBoard. Metrics of one
            title share a chart. Defaults to the tag.
        note: String, what it is, in 30 letters, for reports.
        goal: String, what it goes to as a network collapses, such as `"0"`.
        formula: String, for tables of metrics.
        source: String, the paper and its equation.
        scale: String, `"linear"`, or `"log"` for what falls by factors: the
            axis on which figures draw it.
        limits: Two numbers, up to which `nc_keras.verdict` says "collapsed"
            and "partly". Defaults to `None`: it does not look at the metric.

    Example:

    >>> @nc_keras.metrics.metric(
    ...     "largest_norm", "kernel", default=False, note="longest row"
    ... )
    ... def largest_norm(layer):
    ...     return layer.xp.max(layer.xp.sum(layer.kernel**2, axis=1)) ** 0.5
    >>> nc_keras.metrics.METRICS.pop("largest_norm").title
    'largest_norm'
    """
    if over not in OVER or not set(needs) <= set(_NEEDS):
        raise ValueError(
            f"`over` must be one of {OVER}, `needs` of {tuple(_NEEDS)}. "
            f"Received: over={over!r}, needs={needs}."
        )
    of_classes = tag.startswith("per_class_")
    reductions = {
        "pairs": ("mean", "variance"),
        "weight_pairs": ("mean", "variance"),
        "examples": ("classes",) if of_classes else ("mean",),
    }.get(over, ("mean",))
    is_function = callable(reduce) and over == "examples" and not of_classes
    if reduce not in reductions and not is_function:
        raise ValueError(
            f"`reduce` of a metric {tag!r} over {over!r} must be "
            f"{' or '.join(map(repr, reductions))}; what has one value per "
            f"class is called 'per_class_...'. Received: reduce={reduce!r}."
        )
    if group not in GROUPS:
        raise ValueError(
            f"`group` must be one of {', '.join(GROUPS)}. Received: {group!r}."
        )
    if scale not in ("linear", "log"):
        raise ValueError(
            f'`scale` must be "linear" or "log". Received: {scale!r}.'
        )

    def register(function):
        METRICS[tag] = Metric(
            tag=tag,
            function=function,
            over=over,
            reduce=reduce,
            needs=frozenset(needs),
            default=default,
            degrees=degrees,
            group=group,
            title=title or tag,
            note=note,
            goal=goal,
            formula=formula,
            source=source,
            scale=scale,
            limits=limits,
        )
        return function

    return register


def select(
    metrics: str | Iterable[str] | None, have: Iterable[str]
) -> list[Metric]:
    """Returns the metrics to measure.

    Args:
        metrics: Tags; or `None` for the default ones, or `"all"`, of which
            those that lack what they need are left out.
        have: What there is of what metrics need.

    Raises:
        ValueError: If a tag is not known, or what it needs is not there.
    """
    have = set(have)
    is_all = isinstance(metrics, str) and metrics == "all"
    if metrics is None or is_all:
        return [
            m
            for m in METRICS.values()
            if m.needs <= have and (is_all or m.default)
        ]
    tags = _listed(metrics)
    if not tags:
        raise ValueError("At least one metric is needed. Received: metrics=[].")
    for tag in tags:
        _validate(tag, have)
    return [m for m in METRICS.values() if m.tag in tags]


def _listed(metrics):
    if isinstance(metrics, str):
        return [metrics]
    try:
        return list(metrics)
    except TypeError:
        raise ValueError(
            '`metrics` must be tags, "all", or `None`. '
            f"Received: metrics={metrics!r}."
        ) from None


def _validate(tag, have):
    if not isinstance(tag, str) or tag not in METRICS:
        close = difflib.get_close_matches(str(tag), METRICS, 3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"There is no metric {tag!r}.{hint} The metrics are: "
            f"{', '.join(METRICS)}. Received: metrics with {tag!r}."
        )
    lacking = [_NEEDS[need] for need in METRICS[tag].needs - have]
    if lacking:
        raise ValueError(
            f"The metric {tag!r} needs {' and '.join(sorted(lacking))}, which "
            f"this measurement does not have. Received: metrics with {tag!r}."
        )
