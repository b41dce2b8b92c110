"""From examples to metrics, in as few passes over them as can be."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from nc_keras.arguments import real_array
from nc_keras.blas import one_thread
from nc_keras.blas import one_thread_for
from nc_keras.errors import NonFiniteError
from nc_keras.geometry import validate_num_classes
from nc_keras.labels import partial_labels
from nc_keras.measuring.class_statistics import Accumulator
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.examples import Examples
from nc_keras.measuring.examples import Reduction
from nc_keras.measuring.examples import Rules
from nc_keras.measuring.examples import blocks
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.pairs import reduce_pairs
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.registry import select
from nc_keras.measuring.source import ExampleSource
from nc_keras.measuring.units import refuse_lost
from nc_keras.processes import Gather


class Measurement:
    """What the metrics need, gathered from examples.

    One pass gathers counts, means and variances, and everything that needs
    no final class means. A second pass is made for what does: `nc4` against
    the means of these very examples, and `nc1`, which needs the variances
    along the principal directions of the means. Where the examples are kept
    in memory it is a sweep over an array. Where they are not, and only `nc1`
    would need it, the first pass gathers the `(D, D)` scatter instead.

    Args:
        examples: An `ExampleSource`.
        kernel: Array of shape `(C, D)`, float64, or `None`.
        bias: Array of shape `(C,)`, float64, or `None`.
        num_classes: Integer, or `None` to go by the largest label.
        train_means: As in `collapse_metrics`.
        missing: As in `collapse_metrics`.
        metrics: As in `collapse_metrics`.
        ood_mean: Array of shape `(D,)` or `None`.
        gather: `nc_keras.processes.all_gather`, where several processes have
            a share of the examples each; or `None`. All of them must make the
            same measurements, and have the same values then. A share may be
            empty.
        scatter: Boolean, whether to gather the `(D, D)` scatter even if no
            metric needs it.

    Attributes:
        layer: The `LastLayer`.
        statistics: The `ClassStatistics`.
    """

    def __init__(
        self,
        examples: ExampleSource,
        kernel: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        num_classes: int | None = None,
        *,
        train_means: Any = None,
        missing: str = "raise",
        metrics: str | Iterable[str] | None = None,
        ood_mean: np.ndarray | None = None,
        gather: Gather | None = None,
        scatter: bool = False,
    ):
        have = {
            "kernel": kernel,
            "train_means": train_means,
            "ood": ood_mean,
            "means": True,
            "scatter": True,
            "principal_variances": True,
        }
        have = [name for name, value in have.items() if value is not None]
        self.metrics = select(metrics, have)
        _validate_missing(missing)
        self._examples = examples
        self._kernel = kernel
        self._bias = 0.0 if bias is None else bias
        self._train_means = None
        if train_means is not None:
            train_means = real_array(train_means, "`train_means`")
            self._train_means = train_means.astype("float64")
        if num_classes is not None:
            num_classes = validate_num_classes(num_classes)
        self._ood_mean = ood_mean
        self._missing = missing
        self._shared = gather is not None
        self._gather = gather or (lambda array: [array])
        self._sort_metrics(scatter)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.statistics = self._statistics(num_classes)
            refuse_lost(self.statistics.means)
            self.layer = layer_of(
                self.statistics,
                kernel,
                self._bias,
                missing=missing,
                train_means=self._train_means,
                ood_mean=ood_mean,
            )
            if self._late or self._directions:
                self._second_pass()
            for reduction in self._reductions.values():
                reduction.merge(self._gather)

    @property
    def class_means(self) -> np.ndarray:
        """`(C, D)`, the class means; NaN for a class without examples."""
        return self.statistics.present_means

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
            metric.tag: reduction.result()
            for metric, reduction in self._reductions.items()
        }
        return evaluate(self.layer, self.metrics, examples, pairs, progress)

    @property
    def _reductions(self):
        return self._early | self._late

    def _sort_metrics(self, scatter):
        needs = set().union(*(m.needs for m in self.metrics))
        self._scatter = scatter or "scatter" in needs
        self._directions = "principal_variances" in needs
        over_examples = [m for m in self.metrics if m.over == "examples"]
        # If one of them needs the second pass, the others can wait for it.
        wait = self._train_means is None and any(
            "means" in m.needs for m in over_examples
        )
        self._late = dict.fromkeys(over_examples if wait else ())
        self._early = dict.fromkeys(() if wait else over_examples)
        if self._shared and self._directions and not wait:
            # Whether the share of a process fits its memory is its own matter.
            self._scatter = True

    def _first_pass(self, num_classes):
        gathered = Accumulator(num_classes, self._scatter)
        self._early = {m: Reduction(m, num_classes) for m in self._early}
        source, rules = self._examples, None
        for features, labels in self._batches(num_classes):
            if rules is None:  # Only now are the shapes known to fit.
                rules = Rules(self._kernel, self._bias, self._train_means)
            for block, part in self._blocks(features, labels, self._early):
                gathered.update(block, part)
                examples = Examples(block, part, rules)
                for reduction in self._early.values():
                    reduction.update(examples)
            if not source.kept:
                self._stream(gathered)
        return gathered.statistics() if gathered.examples else None

    def _statistics(self, num_classes):
        """The statistics of the examples of all processes."""
        error, part = None, None
        try:
            part = self._first_pass(num_classes)
        except ValueError as problem:
            error = problem
        # What is wrong in one process must not leave the others waiting.
        shape = (0, 0) if part is None else part.means.shape
        finite = not isinstance(error, NonFiniteError)
        state = np.array([*shape, error is not None, finite], "int64")
        states = np.array(self._gather(state))
        if error is not None:
            raise error
        if states[:, 2].any():
            failed = np.flatnonzero(states[:, 2])
            kind = ValueError if states[failed, 3].all() else NonFiniteError
            raise kind(
                "Another process could not measure its share of the examples, "
                f"and says why. Received: an error in process {failed[0]}."
            )
        return self._merged(part, tuple(states[:, :2].max(axis=0)))

    def _merged(self, part, shape):
        classes, dim = map(int, shape)
        if not dim:
            raise ValueError("Received: an empty dataset.")
        whole = ClassStatistics.empty(classes, dim)
        if not self._scatter and (part is None or part.scatter is None):
            whole = dataclasses.replace(whole, scatter=None)
        names = [f.name for f in dataclasses.fields(whole)]
        arrays = {name: getattr(whole, name) for name in names}
        if part is not None:
            for name, array in arrays.items():
                if array is not None:
                    own = getattr(part, name)
                    array[tuple(slice(n) for n in own.shape)] = own
        gathered = [
            [None] if array is None else self._gather(array)
            for array in arrays.values()
        ]
        parts = itertools.zip_longest(*gathered)
        return functools.reduce(
            ClassStatistics.merge, itertools.starmap(ClassStatistics, parts)
        )

    def _stream(self, gathered):
        """Features no longer fit into memory."""
        if not self._late and self._directions:
            if not gathered.scatter_wanted:
                gathered.gather_scatter(
                    block
                    for features, labels in self._examples.release()
                    for block in self._blocks(
                        features, partial_labels(labels, gathered.num_classes)
                    )
                )
        elif self._late and not self._examples.repeats:
            tags = ", ".join(m.tag for m in self._late)
            raise ValueError(
                f"{tags} needs a second pass over features that do not fit "
                "into `memory`, but this dataset can be iterated only once. "
                "Raise `memory`, choose other `metrics`, or pass a dataset "
                "that starts anew. Received: an iterator, and "
                f"{gathered.examples} examples so far."
            )

    def _second_pass(self):
        layer, counts, directions = self.layer, self.statistics.counts, None
        if layer.scatter is None and self._directions:
            _, directions = layer.principal_directions
            means = self.statistics.means @ directions.T
            sums = np.zeros(len(directions))
        elif not self._late:
            return
        means_sought = self.class_means if self._late else None
        rules = Rules(self._kernel, self._bias, means_sought, directions)
        self._late = {m: Reduction(m, len(counts)) for m in self._late}
        for features, labels in self._batches(len(counts)):
            for block, part in self._blocks(features, labels):
                examples = Examples(block, part, rules)
                for reduction in self._late.values():
                    reduction.update(examples)
                if directions is not None:
                    residuals = examples.along - means[part]
                    sums += np.einsum("nk,nk->k", residuals, residuals)
        if directions is not None:
            sums = np.sum(self._gather(sums), axis=0)
            self.layer = dataclasses.replace(
                layer, principal_variances=sums / counts.sum()
            )

    def _blocks(self, features, labels, cast=True):
        """Yields blocks, float64, for products in as many threads as serve."""
        classes = 1 if self._kernel is None else len(self._kernel)
        size = features.shape[1] if self._scatter else classes
        for rows, block in blocks(features, classes, bool(cast)):
            with one_thread_for(block.size * size):
                yield block, labels[rows]

    def _batches(self, num_classes):
        for features, labels in self._examples:
            labels = partial_labels(labels, num_classes)
            features = validate_features(features, labels)
            validate_shapes(
                features, num_classes, self._kernel, self._train_means
            )
            yield features, labels


def layer_of(
    statistics: ClassStatistics,
    kernel: np.ndarray | None = None,
    bias: Any = 0.0,
    missing: str = "raise",
    **others: Any,
) -> LastLayer:
    """Returns the last layer with the classes that have examples.

    Args:
        statistics: The `ClassStatistics`.
        kernel: Array of shape `(C, D)` or `None`.
        bias: Array of shape `(C,)`, or zero.
        missing: As in `collapse_metrics`.
        **others: More attributes of the `LastLayer`.
    """
    present = present_classes(statistics.counts, missing)
    everyone = len(present) == len(statistics.counts)
    part = slice(None) if everyone else present
    counts = statistics.counts[part]
    layer = LastLayer(
        means=statistics.means[part],
        variances=statistics.squares[part] / counts,
        counts=counts,
        kernel=kernel,
        bias=bias,
        classes=None if everyone else present,
        **others,
    )
    if statistics.scatter is None:
        return layer
    layer = dataclasses.replace(
        layer, scatter=statistics.scatter / counts.sum()
    )
    return with_principal_variances(layer)


def with_principal_variances(layer: LastLayer) -> LastLayer:
    """Returns the layer with what its scatter says of the directions."""
    _, directions = layer.principal_directions
    variances = layer.within_variance(directions)
    return dataclasses.replace(layer, principal_variances=variances)


def available(layer: LastLayer) -> list[str]:
    """Returns which needs of metrics a layer without examples can serve."""
    needs = ("kernel", "train_means", "scatter", "principal_variances")
    return [n for n in needs if getattr(layer, n) is not None]


def evaluate(
    layer: LastLayer,
    metrics: list[Metric],
    of_examples: dict[str, Any] | None = None,
    pairs: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluates metrics; where a formula is 0 / 0 the value is NaN.

    Args:
        layer: The `LastLayer`.
        metrics: The `Metric`s.
        of_examples: Dictionary with the values of those over examples.
        pairs: As in `collapse_metrics`.
        progress: As in `Measurement.values`.

    Returns:
        Dictionary from tags to floats or arrays; to tensors where the layer
        is on the device.
    """
    values = dict(of_examples or {})
    with (
        np.errstate(divide="ignore", invalid="ignore", over="ignore"),
        one_thread(),
    ):
        for metric in metrics:
            if metric.over == "layer":
                values[metric.tag] = metric.function(layer)
        for part, over in _layers_with_pairs(layer):
            chosen = [m for m in metrics if m.over in over]
            values |= reduce_pairs(part, chosen, pairs, progress)
    ordered = {}
    for metric in metrics:
        for tag in (metric.tag, f"{metric.tag}_standard_error"):
            if tag in values:
                ordered[tag] = values[tag]
    if layer.xp is not np:
        return ordered
    return {tag: _plain(value) for tag, value in ordered.items()}


def mean_feature(features: Any) -> np.ndarray:
    """Returns the mean of features `(N, D)` in float64, shape `(D,)`."""
    features = real_array(features, "Features")
    labels = np.zeros(len(features) if features.ndim else 0, "int64")
    features = validate_features(features, labels)
    accumulator = Accumulator(1)
    for rows, block in blocks(features):
        accumulator.update(block, labels[rows])
    return accumulator.statistics().means[0]


def _layers_with_pairs(layer):
    """The pairs of a metric: of classes with examples, or of all rows."""
    if layer.classes is None or layer.kernel is None:
        return [(layer, ("pairs", "weight_pairs"))]
    rows = dataclasses.replace(
        layer,
        means=layer.kernel,
        variances=np.zeros(len(layer.kernel)),
        classes=None,
    )
    return [(layer, ("pairs",)), (rows, ("weight_pairs",))]


def _plain(value):
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else value


def _validate_missing(missing):
    if not isinstance(missing, str) or missing not in ("raise", "skip"):
        raise ValueError(
            f'`missing` must be "raise" or "skip". Received: {missing=}.'
        )


def present_classes(counts: np.ndarray, missing: str = "raise") -> np.ndarray:
    """Indices of the classes with examples; raises if that is not all.

    Args:
        counts: Integer array of shape `(C,)`.
        missing: `"raise"` or `"skip"`.
    """
    _validate_missing(missing)
    present = np.flatnonzero(counts)
    if len(present) == len(counts) or (missing == "skip" and len(present) > 1):
        return present
    absent = np.flatnonzero(counts == 0)
    names = ", ".join(map(str, absent[:10])) + ", ..." * (len(absent) > 10)
    hint = (
        "" if missing == "skip" else ' Pass `missing="skip"` to leave them out.'
    )
    raise ValueError(
        "Every class needs an example, and at least two are needed."
        f"{hint} Received: no example of {len(absent)} of {len(counts)} "
        f"classes: {names}."
    )


def validate_head(
    kernel: Any, bias: Any
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Returns `(C, D)` weights and `(C,)` bias in float64, or `None`s.

    Args:
        kernel: Array of shape `(D, C)` or `None`.
        bias: Array of shape `(C,)` or `None`.
    """
    if kernel is None:
        return None, None
    kernel = real_array(kernel, "`kernel`").astype("float64")
    if kernel.ndim != 2:
        raise ValueError(
            "`kernel` must have the shape (D, C). "
            f"Received: kernel of shape {kernel.shape}."
        )
    if bias is not None:
        bias = real_array(bias, "`bias`").astype("float64")
        if bias.shape != kernel.shape[1:]:
            raise ValueError(
                "`bias` must have one entry a class. Received: bias of shape "
                f"{bias.shape} and kernel of shape {kernel.shape}."
            )
    for name, values in (("kernel", kernel), ("bias", bias)):
        if values is not None and not np.isfinite(values).all():
            raise NonFiniteError(
                f"The head's {name} must be finite. Received: NaN or infinity "
                f"in {(~np.isfinite(values)).sum()} of {values.size} entries."
            )
    return kernel.T, bias


def validate_shapes(
    features: np.ndarray,
    num_classes: int | None,
    kernel: np.ndarray | None,
    train_means: np.ndarray | None,
) -> None:
    """Says so where head or train means do not fit the features."""
    dim = features.shape[1]
    if kernel is not None and kernel.shape != (num_classes, dim):
        raise ValueError(
            f"`kernel` must have the shape (D, C) = ({dim}, {num_classes}), "
            "as in `keras.layers.Dense`; pass the transpose of a (C, D) "
            f"matrix. Received: kernel of shape {kernel.T.shape}."
        )
    if train_means is None:
        return
    if train_means.shape != (num_classes, dim):
        raise ValueError(
            f"`train_means` must have the shape (C, D) = ({num_classes}, "
            f"{dim}). Received: shape {train_means.shape}."
        )
    whole = np.isfinite(train_means).all(axis=1)
    if whole.sum() < 2 or not np.isnan(train_means[~whole]).all():
        raise NonFiniteError(
            "`train_means` must be finite, but for rows of NaN of classes "
            "that the training set lacks, and at least two must be left. "
            f"Received: {(~whole).sum()} rows that are not finite."
        )
