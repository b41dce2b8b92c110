"""From examples to metrics, in as few passes over them as can be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.blas import one_thread_for
from nc_keras.errors import NonFiniteError
from nc_keras.geometry import validate_num_classes
from nc_keras.labels import partial_labels
from nc_keras.measuring.class_statistics import Accumulator
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.evaluation import evaluate
from nc_keras.measuring.evaluation import layer_of
from nc_keras.measuring.examples import Examples
from nc_keras.measuring.examples import Reduction
from nc_keras.measuring.examples import Rules
from nc_keras.measuring.examples import Scratch
from nc_keras.measuring.examples import blocks
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.registry import select
from nc_keras.measuring.shares import statistics_of_all
from nc_keras.measuring.source import ExampleSource
from nc_keras.measuring.units import refuse_lost
from nc_keras.measuring.validation import validate_missing
from nc_keras.measuring.validation import validate_shapes
from nc_keras.measuring.validation import validate_sizes
from nc_keras.processes import Gather

_PRINCIPAL = {"principal_variances", "principal_scatter"}


class Measurement:
    """What the metrics of one layer need, gathered from its features.

    `run` feeds it: a first pass gathers counts, means and variances, and
    everything that needs no final class means. A second pass is made for what
    does: `nc4` against the means of these very examples, and `nc1`, which
    needs the variances along the principal directions of the means. Where the
    examples are kept in memory it is a sweep over an array. Where they are
    not, and only `nc1` would need it, the first pass gathers the `(D, D)`
    scatter instead.

    Args:
        kernel: Array of shape `(C, D)`, float64, or `None`.
        bias: Array of shape `(C,)`, float64, or `None`.
        num_classes: Integer, or `None` to go by the largest label.
        name: String, what errors call the layer, or `None`.
        train_means: As in `collapse_metrics`.
        train_counts: As in `collapse_metrics`.
        is_training: Boolean, whether these very examples are the training
            set, so that their class means stand for `train_means`.
        missing: As in `collapse_metrics`.
        metrics: As in `collapse_metrics`.
        ood_mean: Array of shape `(D,)` or `None`.
        gather: `nc_keras.processes.all_gather`, where several processes have
            a share of the examples each; or `None`. All of them must make the
            same measurements, and have the same values then. A share may be
            empty.
        scatter: Boolean, whether to gather the `(D, D)` scatter: `True`, even
            if no metric needs it; `None`, where it saves a second pass;
            `False`, only for metrics that need it.

    Attributes:
        layer: The `LastLayer`.
        statistics: The `ClassStatistics`.
    """

    def __init__(
        self,
        kernel: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        num_classes: int | None = None,
        *,
        name: str | None = None,
        train_means: Any = None,
        train_counts: Any = None,
        is_training: bool = False,
        missing: str = "raise",
        metrics: str | Iterable[str] | None = None,
        ood_mean: np.ndarray | None = None,
        gather: Gather | None = None,
        scatter: bool | None = None,
    ):
        optional = {
            "kernel": kernel,
            "train_means": train_means,
            "ood": ood_mean,
        }
        have = {name for name, value in optional.items() if value is not None}
        have |= {"train_means"} if is_training else set()
        have |= {"training_set"} if train_means is None else set()
        if train_means is None or train_counts is not None:
            have.add("class_sizes")
        self.metrics = select(metrics, have | {"means", "scatter"} | _PRINCIPAL)
        validate_missing(missing)
        if num_classes is not None:
            num_classes = validate_num_classes(num_classes)
        self.name = name
        self._num_classes = num_classes
        self._kernel = kernel
        self._bias = 0.0 if bias is None else bias
        self._train_means = None
        if train_means is not None:
            train_means = real_array(train_means, "`train_means`")
            self._train_means = train_means.astype("float64")
        self._train_counts = train_counts
        self._ood_mean = ood_mean
        self._missing = missing
        self._shared = gather
        self._gather = gather or (lambda array: [array])
        self._late: list[Metric] = []
        self._sort_metrics(scatter)
        self._gathered = Accumulator(num_classes, self._scatter)
        self._dim: int | None = None
        self._rules: Rules | None = None
        self._swept: dict[Metric, Reduction] = {}
        self._scratch = Scratch()

    @property
    def class_means(self) -> np.ndarray:
        """`(C, D)`, the class means; NaN for a class without examples."""
        return self.statistics.present_means

    def gather(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Adds a batch, in the first pass."""
        features, labels = self._valid(features, labels, self._num_classes)
        rules, width = self._rules, 1
        if self._early:
            width = self._most_rows()
            if rules is None:  # Only now are the shapes known to fit.
                rules = Rules(self._kernel, self._bias, self._train_means)
                self._rules = rules
        with _quiet():
            for block, rows in self._blocks(features, width, bool(self._early)):
                part = labels[rows]
                self._gathered.update(block, part)
                if rules is None:
                    continue
                examples = Examples(block, part, rules, features[rows])
                for reduction in self._early.values():
                    reduction.update(examples)

    def stream(self, source: ExampleSource) -> None:
        """Is told, in the first pass, that features no longer fit memory."""
        awaited = self._late
        if self._never_scatters and not self._gathered.scatter_wanted:
            awaited = [
                m for m in self.metrics if m in awaited or m.needs & _PRINCIPAL
            ]
        if awaited and not source.repeats:
            tags = [m.tag for m in awaited]
            raise ValueError(
                f"{', '.join(tags)} needs a second pass over features that do "
                "not fit into `memory`, but this dataset can be iterated only "
                "once. Raise `memory`, choose other `metrics`, or pass a "
                "dataset that starts anew. Received: an iterator, and "
                f"{self._gathered.examples} examples so far."
            )
        if awaited or not self._directions or self._gathered.scatter_wanted:
            return
        classes = self._gathered.num_classes
        self._gathered.gather_scatter(
            (block, partial_labels(labels, classes)[rows])
            for features, labels in source.release()
            for block, rows in self._blocks(features)
        )

    def finish(self, error: ValueError | None = None) -> None:
        """Ends the first pass.

        Args:
            error: What the first pass of this process broke off with.

        Raises:
            ValueError: This error, or that of another process.
        """
        part = None
        with _quiet():
            try:
                if error is None and self._gathered.examples:
                    with self._named():
                        part = self._gathered.statistics()
            except ValueError as problem:
                error = problem
            del self._gathered
            self.statistics = statistics_of_all(
                part, error, self._shared, self._scatter
            )
            refuse_lost(self.statistics.means)
            if self._train_counts is not None:
                self._train_counts = validate_sizes(
                    self._train_counts, len(self.statistics.counts)
                )
            self.layer = layer_of(
                self.statistics,
                self._kernel,
                self._bias,
                missing=self._missing,
                train_means=self._train_means,
                train_counts=self._train_counts,
                ood_mean=self._ood_mean,
            )

    def begin_sweep(self) -> bool:
        """Prepares the second pass, and returns whether it is needed."""
        self._centers = directions = None
        if self.layer.scatter is None and self._directions:
            _, directions = self.layer.principal_directions
            self._centers = self.statistics.means @ directions.T
            size = len(directions)
            self._within = np.zeros((size, size) if self._crossed else size)
        sought = self.class_means if self._late else None
        self._asked = Rules(self._kernel, self._bias, sought, directions)
        classes = len(self.statistics.counts)
        self._swept = {
            metric: Reduction(metric, classes) for metric in self._late
        }
        return bool(self._late) or directions is not None

    def sweep(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Adds a batch, in the second pass."""
        classes = len(self.statistics.counts)
        features, labels = self._valid(features, labels, classes)
        width = max(self._most_rows(), classes) if self._swept else 1
        if self._centers is not None:
            width = max(width, self._centers.shape[1])
        for block, rows in self._blocks(features, width):
            part = labels[rows]
            examples = Examples(block, part, self._asked, features[rows])
            for reduction in self._swept.values():
                reduction.update(examples)
            if self._centers is None:
                continue
            residuals = examples.along - self._centers[part]
            if self._crossed:
                self._within += residuals.T @ residuals
            else:
                self._within += np.einsum("nk,nk->k", residuals, residuals)

    def end(self) -> None:
        """Ends the last pass."""
        if self._centers is not None:
            within = np.sum(self._gather(self._within), axis=0)
            within = within / self.statistics.counts.sum()
            self.layer = self.layer.replaced(
                principal_scatter=within if self._crossed else None,
                principal_variances=(
                    np.diag(within) if self._crossed else within
                ),
            )
        for reduction in (self._early | self._swept).values():
            reduction.merge(self._gather)

    def values(
        self, pairs: int | None = None, progress: bool = False
    ) -> dict[str, Any]:
        """Returns the values of the metrics by their tags.

        Args:
            pairs: As in `collapse_metrics`.
            progress: Boolean, whether to draw a progress bar for means over
                very many pairs of classes.
        """
        examples = {
            metric.tag: reduction.result(self.layer)
            for metric, reduction in (self._early | self._swept).items()
        }
        return evaluate(self.layer, self.metrics, examples, pairs, progress)

    def _sort_metrics(self, scatter):
        needs = set().union(*(m.needs for m in self.metrics))
        self._scatter = bool(scatter) or "scatter" in needs
        self._never_scatters = scatter is False
        self._directions = bool(needs & _PRINCIPAL)
        self._crossed = "principal_scatter" in needs
        over_examples = [m for m in self.metrics if m.over == "examples"]
        classes = self._num_classes
        # If one of them needs the second pass, the others can wait for it; so
        # they do where the number of classes is known only then.
        wait = self._train_means is None and any(
            "means" in m.needs or classes is None for m in over_examples
        )
        self._late = over_examples if wait else []
        self._early = {
            metric: Reduction(metric, classes)
            for metric in ([] if wait else over_examples)
        }
        if self._shared and self._directions and not wait:
            # Whether the share of a process fits its memory is its own matter.
            self._scatter = True

    def _blocks(self, features, width=1, cast=True):
        """Yields blocks, float64, for products in as many threads as serve."""
        if self._scatter:
            width = max(width, features.shape[1])
        for rows, block in blocks(features, width, cast, self._scratch):
            with one_thread_for(block.size * width):
                yield block, rows

    def _most_rows(self):
        """With how many rows examples are multiplied, for what is asked."""
        known = (self._kernel, self._train_means)
        return max([1, *(len(one) for one in known if one is not None)])

    def _valid(self, features, labels, num_classes):
        with self._named():
            labels = partial_labels(labels, num_classes)
            features = validate_features(features, labels)
            validate_shapes(
                features, num_classes, self._kernel, self._train_means
            )
            self._dim = self._dim or features.shape[1]
            if self._dim != features.shape[1]:
                raise ValueError(
                    "The features of all batches must have one dimension; "
                    "those of images of several sizes have it with "
                    f'pooling="average". Received: {self._dim} and '
                    f"{features.shape[1]}."
                )
        return features, labels

    @contextlib.contextmanager
    def _named(self):
        """Says of what is not finite in which of several layers it is."""
        try:
            yield
        except NonFiniteError as error:
            if self.name is None:
                raise
            raise NonFiniteError(f"Layer {self.name!r}: {error}") from error


def run(
    source: ExampleSource, measurements: Sequence[Measurement]
) -> Sequence[Measurement]:
    """Feeds measurements, each of its own layer, from one source.

    Args:
        source: An `ExampleSource`. Of several layers its batches have a list
            with the features of each.
        measurements: The `Measurement`s, one for each layer.

    Returns:
        The measurements.

    Raises:
        ValueError: If the examples are invalid, or a second pass is needed
            and cannot be made.
    """
    error = None
    try:
        for features, labels in source:
            for one, array in _by_layer(measurements, features):
                one.gather(array, labels)
            for one in () if source.kept else measurements:
                one.stream(source)
    except ValueError as problem:
        error = problem
    for one in measurements:
        one.finish(error)
    with _quiet():
        swept = [one for one in measurements if one.begin_sweep()]
        for features, labels in source if swept else ():
            for one, array in _by_layer(measurements, features):
                if one in swept:
                    one.sweep(array, labels)
        for one in measurements:
            one.end()
    return measurements


def measured(source: ExampleSource, *head: Any, **options: Any) -> Measurement:
    """Measures one layer.

    Args:
        source: An `ExampleSource`.
        *head: `kernel`, `bias` and `num_classes` of a `Measurement`.
        **options: Its other arguments.
    """
    return run(source, [Measurement(*head, **options)])[0]


def _by_layer(measurements, features):
    arrays = features if isinstance(features, list) else [features]
    return zip(measurements, arrays, strict=True)


def _quiet():
    return np.errstate(divide="ignore", invalid="ignore", over="ignore")


def mean_feature(features: Any) -> np.ndarray:
    """Returns the mean of features `(N, D)` in float64, shape `(D,)`."""
    features = real_array(features, "Features")
    labels = np.zeros(len(features) if features.ndim else 0, "int64")
    features = validate_features(features, labels)
    accumulator = Accumulator(1)
    for rows, block in blocks(features):
        accumulator.update(block, labels[rows])
    return accumulator.statistics().means[0]
