"""One table that says whether, and how far, a network has collapsed."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from typing_extensions import Unpack

from nc_keras.detection import Detector
from nc_keras.detection import Scored
from nc_keras.detection import Scores
from nc_keras.detection import detection
from nc_keras.detection import of_all
from nc_keras.measuring.evaluation import evaluate
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.options import Options
from nc_keras.measuring.options import Plan
from nc_keras.measuring.options import unpacked
from nc_keras.measuring.passes import mean_feature
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.registry import select
from nc_keras.measuring.validation import names_of
from nc_keras.report_table import WIDTH
from nc_keras.report_table import Report

__all__ = ["Report", "report"]
_STATISTICS_ONLY = "nc1_trace_ratio"
# 0 for two classes, whose centred means are opposite; and where the rows of
# the head are opposite too, as those of a sigmoid or of an ETF.
_FIXED_FOR_TWO = (
    "nc2_equinorm_means",
    "nc2_equiangular_means",
    "nc2_max_angle_means",
    "nc2_etf_means",
    "nc2_equiangular_weights",
)
_FIXED_IF_OPPOSITE = (
    "nc2_equinorm_weights",
    "nc2_max_angle_weights",
    "nc2_etf_weights",
    "nc3_duality",
    "nc0",
)


def report(
    model: keras.Model | FeatureExtractor,
    train: Any,
    test: Any = None,
    *,
    ood: Any = None,
    neco_dim: int | None = None,
    per_class: bool = False,
    class_names: Iterable[str] | None = None,
    print_fn: Callable[[str], Any] = print,
    **options: Unpack[Options],
) -> Report:
    """Prints how far a model has collapsed, and returns the values.

    Makes one forward pass over each data set. A training set whose features
    do not fit into `memory` takes a second one for metrics that need it, see
    `nc_keras.measure`, and for scores with `ood` if there is no test set.

    Args:
        model: A built `keras.Model` of any kind, or a `FeatureExtractor`.
        train: The training set: tuple `(x, y)` of arrays, or one
            `(x, y, weight)`, of which examples of weight zero are left out;
            or a dataset as in `nc_keras.measure`.
        test: A test set in the same form, or `None`. Its `nc4` and
            `ncc_accuracy` refer to the class means of `train`, all the rest
            to its own.
        ood: Out-of-distribution examples as in `nc_keras.measure`, or a tuple
            `(x, y)`, or `None`. With them `nc5` is measured, and how well
            scores of the features tell them from `test` (from `train` where
            there is no test set): `_auroc`, `_fpr95` and `_aupr` of `neco`,
            `mahalanobis`, `msp`, `max_logit`, `energy`, `nci` and `vim`, see
            `nc_keras.metrics.ood_scores`. `vim` needs training features that
            fit into `memory`; the last five need a head.
        neco_dim: Integer, the dimension of NECO's principal space. Defaults
            to `C - 1`.
        per_class: Boolean, whether to measure, and print, what has one value
            per class. Defaults to `False`: such metrics are measured only if
            they are among `metrics`, and not printed.
        class_names: Strings, one per class, for what has one value per class;
            or `None` for numbers.
        print_fn: Function that is given the table. Defaults to `print`.
        **options: As in `nc_keras.measure`. A model without a head can be
            measured by `features` alone. With `across_processes` all of them
            print the same table.

    Returns:
        A `Report`: dictionary with `"train"`, and `"test"` and `"ood"` where
        these were given, of dictionaries from tags to values, which prints as
        the same table.

    Raises:
        TypeError: If an option is not known.
        ValueError: If the model is not built, its head cannot be found, or
            the data are invalid.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x, y = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3
    >>> values = nc_keras.report(
    ...     model, (x[:60], y[:60]), (x[60:], y[60:]), metrics="accuracy"
    ... )  # doctest: +ELLIPSIS
    Neural collapse of 'mlp': 3 classes, D = 8, head 'head'
    60 examples of train, 30 of test
    <BLANKLINE>
                                   train       test  goes to
    Accuracy
      accuracy              ...  1: the head is right
    <BLANKLINE>
    No verdict: the training error is ...
    >>> sorted(values)
    ['test', 'train']

    Reference:

    - [Papyan, Han & Donoho, 2020](https://arxiv.org/abs/2008.08186).
    - [Ben Ammar et al., 2024](https://arxiv.org/abs/2310.06823), for `nc5`
      and NECO.
    """
    for name, data in (("train", train), ("test", test)):
        if hasattr(data, "shape") or isinstance(data, dict):
            raise ValueError(
                f"`{name}` must be a tuple (x, y) of arrays, "
                "`report(model, (x, y))`, or a dataset of (x, y) batches. "
                f"Received: {name} of type {type(data).__name__}."
            )
    plan = Plan.of(options)
    run = _Run(plan.extractor(model), plan)
    chosen = _Choice(plan.metrics, test is not None, ood is not None, per_class)
    values = run.measure_all(train, test, ood, chosen, neco_dim)
    result = Report(
        values,
        run.heading(),
        run.notes(),
        per_class,
        run.classes(class_names),
        run.ood_scores,
    )
    print_fn(str(result))
    return result


class _Choice:
    """Which metrics are measured on each data set, and which reported."""

    def __init__(self, metrics, has_test, has_ood, per_class):
        if isinstance(metrics, str) and metrics != "all":
            metrics = [metrics]
        elif metrics is not None and metrics != "all":
            metrics = list(metrics)
        self.metrics = metrics
        self.has_test = has_test
        self.has_ood = has_ood
        self.per_class = per_class

    def tags(self, has_kernel: bool, is_test: bool) -> list[str]:
        """The tags that are reported of a data set."""
        have = ["means", "scatter", "principal_variances", "principal_scatter"]
        have += ["class_sizes", "train_means" if is_test else "training_set"]
        have += ["kernel"] * has_kernel
        chosen = self.metrics
        if isinstance(chosen, list) and chosen:
            # What another data set or `ood` has is no error here.
            elsewhere = {"ood"} if self.has_ood else set()
            if is_test:
                elsewhere.add("training_set")
            elif self.has_test:
                elsewhere.add("train_means")
            chosen = [t for t in chosen if not _needs(t) & elsewhere]
            if not chosen:
                return []
        tags = [metric.tag for metric in select(chosen, have)]
        if self.per_class:
            tags += [
                metric.tag
                for metric in select("all", have)
                if metric.per_class and metric.tag not in tags
            ]
        return tags

    def of_ood(self) -> list[Metric]:
        """What is measured once the mean of `ood` is known: NC5, and yours."""
        tags = ["nc5"]
        if self.metrics == "all":
            tags += METRICS
        elif self.metrics is not None:
            tags += self.metrics
        return [
            m for m in METRICS.values() if m.tag in tags and "ood" in m.needs
        ]


class _Run:
    """The passes over the data sets."""

    def __init__(self, extractor: FeatureExtractor, plan: Plan):
        self.extractor = extractor
        self.plan = plan
        # Read once: by `features` alone, a head may be found only later.
        self.head = (extractor.kernel, extractor.bias)
        self.layers: dict[str, Any] = {}
        self.counts: dict[str, np.ndarray] = {}
        self.ood_scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def measure_all(self, train, test, ood, chosen, neco_dim):
        """Returns the values of all data sets."""
        has_kernel = self.head[0] is not None
        tags = chosen.tags(has_kernel, is_test=False)
        source = self._source(train)
        first = self._measure(
            "train",
            source,
            {*tags, _STATISTICS_ONLY},
            scatter=True if ood is not None else None,
        )
        values = {"train": self._values(first, tags)}
        scores = None
        if ood is not None:
            scores = self._scores(first.statistics, source, neco_dim)
        if test is not None:
            tags = chosen.tags(has_kernel, is_test=True)
            second = self._measure(
                "test",
                Scored(self._source(test), scores),
                {*tags, _STATISTICS_ONLY},
                train_means=first.class_means,
                train_counts=first.statistics.counts,
                num_classes=len(first.class_means),
            )
            values["test"] = self._values(second, tags)
        elif ood is not None:
            self._score_again(source, scores)
        if ood is not None:
            known, mean = scores.count, self._score_ood(ood, scores)
            for name, layer in self.layers.items():
                layer = dataclasses.replace(layer, ood_mean=mean)
                values[name] |= evaluate(layer, chosen.of_ood())
            for score, found in scores.result().items():
                own, others = np.split(found, [known])
                own = of_all(own, self.plan.gather)
                self.ood_scores[score] = (own, others)
            values["ood"] = detection(self.ood_scores)
        return values

    def _measure(self, name, source, tags, **options):
        measurement = self.plan.measured(
            self.extractor, source, self.head, metrics=tags, **options
        )
        self.layers[name] = measurement.layer
        self.counts[name] = measurement.statistics.counts
        return measurement

    def _values(self, measurement, tags):
        # What was measured for its statistics alone may cost much to evaluate.
        measurement.metrics = [m for m in measurement.metrics if m.tag in tags]
        return measurement.values(self.plan.pairs, progress=True)

    def _source(self, data):
        return self.plan.source(self.extractor, *unpacked(data))

    def _scores(self, statistics, source, neco_dim):
        """Scores that know the training set."""
        detector = Detector(statistics, self.head, neco_dim)
        # Whether all shares are kept is decided by all processes alike.
        kept = np.array([source.kept])
        gather = self.plan.gather
        if kept.all() if gather is None else np.all(gather(kept)):
            detector.calibrate((features for features, _ in source), gather)
        return Scores(detector)

    def _score_again(self, source, scores):
        """Scores the training set, whose principal space is known now."""
        if not source.kept and not source.repeats:
            raise ValueError(
                "`ood` without a test set needs a second pass over features "
                "that do not fit into `memory`, but `train` can be iterated "
                "only once. Raise `memory`, pass `test`, or a dataset that "
                "starts anew."
            )
        for features, _ in source:
            scores.update(features)

    def _score_ood(self, ood, scores):
        """Scores the examples, and returns their mean feature."""
        x, y = ood if isinstance(ood, tuple) else (ood, None)
        if y is None and hasattr(x, "shape"):
            y = np.zeros(len(x), "int64")
        sums, count = 0.0, 0
        for features, _ in self.extractor.batches(x, y, self.plan.batch_size):
            scores.update(features)
            sums = sums + mean_feature(features) * len(features)
            count += len(features)
        self.counts["ood"] = np.array([count])
        return sums / count

    def heading(self) -> list[str]:
        """What was measured, in words."""
        counts, layer = self.counts["train"], self.layers["train"]
        model, head = self.extractor.model, self.extractor.head
        parts = [f"{len(counts):,} classes", f"D = {layer.dim:,}"]
        if layer.kernel is not None:
            parts.append(f"head {head.name!r}")
        else:
            parts.append(f"features of {self.extractor.names[0]!r}")
        sizes = [f"{c.sum():,} of {name}" for name, c in self.counts.items()]
        sizes[0] = sizes[0].replace(" of ", " examples of ")
        title = f"Neural collapse of {model.name!r}: "
        return [title + ", ".join(parts), ", ".join(sizes)]

    def classes(self, names: Iterable[str] | None) -> dict[str, np.ndarray]:
        """The classes that have examples, by name if they have names."""
        found = {
            name: np.flatnonzero(self.counts[name]) for name in self.layers
        }
        if names is None:
            return found
        names = np.array(names_of(names, len(self.counts["train"])))
        return {k: names[rows] for k, rows in found.items()}

    def notes(self) -> list[str]:
        """What is missing, and what two classes cannot tell."""
        lines = self._fixed()
        has_vim = "vim" in self.ood_scores or self.head[0] is None
        if self.ood_scores and not has_vim:
            lines.append("vim is left out: train does not fit into `memory`.")
        for name in self.layers:
            counts = self.counts[name]
            absent = np.flatnonzero(counts == 0)
            if len(absent):
                some = ", ".join(map(str, absent[:8]))
                lines.append(
                    f"{len(absent):,} of {len(counts):,} classes without an "
                    f"example of {name}: {some}" + ", ..." * (len(absent) > 8)
                )
        return lines

    def _fixed(self):
        layer = self.layers["train"]
        if layer.num_classes > 2:
            return []
        tags, kernel = list(_FIXED_FOR_TWO), layer.kernel
        if kernel is not None and np.allclose(kernel.sum(axis=0), 0):
            tags += _FIXED_IF_OPPOSITE
        text = f"0 by definition, of two classes: {', '.join(tags)}."
        return textwrap.wrap(text, WIDTH)


def _needs(tag):
    return METRICS[tag].needs if tag in METRICS else frozenset()
