"""Neural collapse at every layer, and the law of data separation."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from nc_keras.blas import one_thread_for
from nc_keras.errors import NonFiniteError
from nc_keras.labels import partial_labels
from nc_keras.measuring.class_statistics import Accumulator
from nc_keras.measuring.class_statistics import validate_features
from nc_keras.measuring.examples import Examples
from nc_keras.measuring.examples import Reduction
from nc_keras.measuring.examples import Rules
from nc_keras.measuring.examples import blocks
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.heads import Head
from nc_keras.measuring.heads import find_head_or_none
from nc_keras.measuring.heads import last_layer
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.passes import evaluate
from nc_keras.measuring.passes import layer_of
from nc_keras.measuring.passes import present_classes
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.registry import select
from nc_keras.measuring.source import MEMORY
from nc_keras.measuring.source import FeatureSource

SEPARATION = "separation"
DEFAULT = (SEPARATION, "nc1", "nc1_trace_ratio", "nc1_cdnv", "ncc_accuracy")


def layerwise(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    layers: Any = None,
    head: Any = None,
    pooling: str | None = "average",
    batch_size: int = 256,
    metrics: str | Iterable[str] | None = None,
    train: Any = None,
    mask: Any = None,
    ignore_label: int | None = None,
    num_classes: int | None = None,
    missing: str = "raise",
    pairs: int | None = None,
    memory: int = MEMORY,
) -> Layerwise:
    """Measures neural collapse at layers inside of a model.

    All layers are measured in one forward pass in inference mode, if their
    features fit into `memory`. Where they do not, a second forward pass takes
    the place of the features that were not kept, and memory is `O(C D)` for
    each layer; no matrix of the size `D x D` is made, however wide a layer is
    (but for metrics that need the whole covariance, such as `vci`).

    Besides the metrics of `nc_keras.metrics.METRICS` that need no head there
    is `separation`, the separation fuzziness of He & Su:
    `D = tr(SS_w SS_b^+)` with `SS_w = Sigma_W` and
    `SS_b = sum_c n_c (mu_c - m)(mu_c - m)' / N`, where `m` is the mean of all
    examples. It is `C` times `nc1` where classes are of equal size. Their law
    of data separation says that in a trained network `log D` falls by the
    same amount from layer to layer.

    Args:
        model: A built `keras.Model`.
        x: As in `nc_keras.measure`.
        y: As in `nc_keras.measure`.
        layers: List of layers, or of their names, in the order of the model,
            whose outputs are measured; or `None` for what the function
            `stages` of this module finds: the output of each block of a
            residual network, of each Dense-BatchNorm-ReLU of others, up to
            the features that the head sees.
        head: As in `nc_keras.measure`; it tells where `stages` ends.
        pooling: How features with positions, as of convolutions, become
            vectors: `"average"` for their mean over the positions,
            `"flatten"` for all values in one row, as in the papers; or `None`
            where each position has its own label.
        batch_size: Integer, for arrays. The values do not depend on it.
        metrics: Tags; or `None` for `separation`, `nc1`, `nc1_trace_ratio`,
            `nc1_cdnv` and `ncc_accuracy`; or `"all"` for every one that needs
            neither a head nor the whole covariance.
        train: Tuple `(x, y)` or dataset, the training set, if `x` is a test
            set. The class means that `ncc_accuracy` compares with are then
            those of `train`. Defaults to `None`: they are those of `x`.
        mask: As in `nc_keras.measure`.
        ignore_label: As in `nc_keras.measure`.
        num_classes: Integer, or `None` to take it from the head, or from the
            labels where there is no head.
        missing: As in `nc_keras.measure`.
        pairs: As in `nc_keras.measure`.
        memory: Integer, how many bytes of features may be kept, of all layers
            together. Defaults to 2 GiB.

    Returns:
        A `Layerwise`, a dictionary from the names of layers to dictionaries
        from tags to values, which prints as a table. Its `law` is the law of
        data separation.

    Raises:
        ValueError: If the layers cannot be found, or the data are invalid.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(16, 8))
    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> result = nc_keras.layerwise(model, x, y)
    >>> [dim for dim in result.dims.values()]
    [16, 8]
    >>> values = list(result.values())[-1]
    >>> np.isclose(values["separation"], 3 * values["nc1"])
    np.True_
    >>> result.law.decay_ratio > 0
    True

    Reference:

    - [He & Su, 2023](https://arxiv.org/abs/2210.17020), for `separation`.
    - [Rangamani et al., 2023](https://proceedings.mlr.press/v202/rangamani23a.html),
      for neural collapse at intermediate layers.
    """
    if num_classes is None:
        num_classes = num_classes_of(model, head)
    return layerwise_of(
        layers_extractor(model, layers, head, pooling),
        x,
        y,
        batch_size=batch_size,
        metrics=metrics,
        train=train,
        mask=mask,
        ignore_label=ignore_label,
        num_classes=num_classes,
        missing=missing,
        pairs=pairs,
        memory=memory,
    )


def layers_extractor(
    model: keras.Model,
    layers: Any = None,
    head: Any = None,
    pooling: str | None = "average",
) -> FeatureExtractor:
    """Returns what `layerwise_of` takes: it compiles the forward pass once.

    Args:
        model: As in `layerwise`, and so are the others.
        layers: List of layers.
        head: Layer or name.
        pooling: String or `None`.
    """
    if layers is None:
        layers = stages(model, head)
    elif isinstance(layers, str | keras.Layer):
        layers = [layers]
    return FeatureExtractor(model, features=list(layers), pooling=pooling)


def layerwise_of(
    extractor: FeatureExtractor,
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 256,
    metrics: str | Iterable[str] | None = None,
    train: Any = None,
    mask: Any = None,
    ignore_label: int | None = None,
    num_classes: int | None = None,
    missing: str = "raise",
    pairs: int | None = None,
    memory: int = MEMORY,
) -> Layerwise:
    """`layerwise` for the layers of an extractor, to measure again and again.

    Args:
        extractor: Of `layers_extractor`.
        x: As in `layerwise`, and so are all the others.
        y: Labels.
        batch_size: Integer.
        metrics: Tags.
        train: The training set.
        mask: Array.
        ignore_label: Integer.
        num_classes: Integer, or `None` to take it from the labels.
        missing: String.
        pairs: Integer.
        memory: Integer.
    """
    chosen = _select(metrics)
    names = _distinct(extractor.names)
    train_means = [None] * len(names)
    if train is not None:
        passes = _passes(names, chosen, num_classes, missing)
        choice = {"ignore_label": ignore_label}
        _gather(passes, _source(extractor, train, batch_size, 0, **choice))
        train_means = [one.class_means for one in passes]
        num_classes = len(train_means[0])
    passes = _passes(names, chosen, num_classes, missing, train_means)
    choice = {"mask": mask, "ignore_label": ignore_label}
    source = _source(extractor, (x, y), batch_size, memory, **choice)
    _gather(passes, source)
    _sweep(passes, source)
    return Layerwise(
        {one.name: one.values(pairs) for one in passes},
        {one.name: one.layer.dim for one in passes},
        extractor.pooling,
        {one.name: one.class_means for one in passes},
    )


def alignment(class_means: Any, matrix: Any) -> float:
    """Mean cosine of the principal angles of class means and a layer's weights.

    Of the span of the class means (not centred) of what a dense layer sees,
    and the span of as many of its leading right singular vectors: NC3 of
    intermediate neural collapse, which goes to 1 in the top layers.

    Args:
        class_means: Array of shape `(C, D)`.
        matrix: Array of shape `(outputs, D)`, the weights of the layer.

    Returns:
        Float in `[0, 1]`; NaN where all means or all weights are zero.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:

    >>> from nc_keras.layerwise import alignment
    >>> means = [[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]
    >>> print(round(alignment(means, np.diag([2.0, 3.0, 1.0])), 6))
    1.0

    Reference:

    - [Rangamani et al., 2023](https://proceedings.mlr.press/v202/rangamani23a.html),
      as in the authors' code, `AngleBetweenSubspaces` of
      mariuslindegaard/Intermediate_Neural_Collapse.
    """
    means = np.asarray(class_means, "float64")
    matrix = np.asarray(matrix, "float64")
    if means.ndim != 2 or matrix.ndim != 2 or len(means.T) != len(matrix.T):
        raise ValueError(
            "The class means must be of what the layer sees. Received: means "
            f"of shape {means.shape}, weights of shape {matrix.shape}."
        )
    if not (np.isfinite(means).all() and np.isfinite(matrix).all()):
        raise ValueError("Class means and weights must be finite.")
    # Beyond its rank the basis of a span is arbitrary.
    rank = min(np.linalg.matrix_rank(means), np.linalg.matrix_rank(matrix))
    if rank == 0:
        return float("nan")
    of_means = np.linalg.svd(means, full_matrices=False)[2][:rank]
    of_weights = np.linalg.svd(matrix, full_matrices=False)[2][:rank]
    cosines = np.linalg.svd(of_means @ of_weights.T, compute_uv=False)
    return float(cosines.mean())


@dataclasses.dataclass(frozen=True)
class SeparationLaw:
    """The line through `log D_l` over the layers `l`, by least squares.

    Attributes:
        slope: Float, of the natural logarithm, for one layer.
        decay_ratio: Float, `rho = exp(slope)`, the factor from one layer to
            the next.
        correlation: Float, Pearson's `r` of `log D_l` and `l`; NaN of two
            layers, through which there is a line always.
    """

    slope: float
    decay_ratio: float
    correlation: float


def separation_law(separations: Iterable[float]) -> SeparationLaw:
    """Fits the law of data separation, `D_l = rho^l D_0`.

    Args:
        separations: The separation fuzziness `D_l` of one layer after the
            other.

    Returns:
        A `SeparationLaw`; of NaN where there are fewer than two layers, or
        where some `D_l` has no logarithm.

    Example:

    >>> from nc_keras.layerwise import separation_law
    >>> law = separation_law([8.0, 4.0, 2.0, 1.0])
    >>> print(round(law.decay_ratio, 6), round(law.correlation, 6))
    0.5 -1.0
    """
    values = np.asarray(list(separations), "float64")
    if len(values) < 2 or not (np.isfinite(values) & (values > 0)).all():
        return SeparationLaw(float("nan"), float("nan"), float("nan"))
    depth = np.arange(len(values)) - (len(values) - 1) / 2
    logs = np.log(values)
    logs = logs - logs.mean()
    slope = depth @ logs / (depth @ depth)
    size = np.sqrt((depth @ depth) * (logs @ logs))
    is_fit = size and len(values) > 2
    correlation = depth @ logs / size if is_fit else np.nan
    return SeparationLaw(float(slope), float(np.exp(slope)), float(correlation))


class Layerwise(dict):
    """Metrics by layer: a dictionary of dictionaries, printed as a table.

    Args:
        values: Dictionary from the names of layers, in their order, to
            dictionaries from tags to values.
        dims: Dictionary from the names of layers to their dimension.
        pooling: As in `layerwise`.
        class_means: Dictionary from the names of layers to arrays of shape
            `(C, D)`, or `None`.

    Attributes:
        dims: Dictionary from the names of layers to their dimension.
        pooling: How features with positions became vectors.
        class_means: Dictionary from the names of layers to the class means of
            their features, `(C, D)`.
        law: The `SeparationLaw`, or `None` if `separation` was not measured.

    Example:

    >>> from nc_keras.layerwise import Layerwise
    >>> result = Layerwise(
    ...     {"relu": {"separation": 2.0}, "relu_1": {"separation": 0.5}},
    ...     {"relu": 64, "relu_1": 32},
    ... )
    >>> result.column("separation").tolist()
    [2.0, 0.5]
    >>> print(result)
    layer     D  separation
    relu     64           2
    relu_1   32         0.5
    From layer to layer, separation changes by the factor 0.25:
    slope of its logarithm = -1.386 (of two layers: a line fits always).
    """

    def __init__(
        self,
        values: Mapping[str, Mapping[str, Any]],
        dims: Mapping[str, int],
        pooling: str | None = None,
        class_means: Mapping[str, np.ndarray] | None = None,
    ):
        super().__init__(values)
        self.class_means = dict(class_means or {})
        self.dims = dict(dims)
        self.pooling = pooling
        self.law = None
        if all(SEPARATION in one for one in self.values()):
            self.law = separation_law(self.column(SEPARATION))

    def column(self, tag: str) -> np.ndarray:
        """Returns one metric of all layers, in their order.

        Args:
            tag: String, the tag of the metric.
        """
        return np.array([values[tag] for values in self.values()])

    def __str__(self) -> str:
        first = next(iter(self.values()), {})
        tags = [tag for tag, value in first.items() if not np.ndim(value)]
        rows = [["layer", "D", *tags]]
        for name, values in self.items():
            numbers = [f"{values[tag]:.4g}" for tag in tags]
            rows.append([name, str(self.dims[name]), *numbers])
        lines = _aligned(rows)
        lines += self._law_in_words()
        if self.pooling is not None:
            how = {"average": "their mean", "flatten": "all in one row"}
            lines.append(
                f"Features with positions, as of convolutions: "
                f'{how[self.pooling]} (pooling="{self.pooling}").'
            )
        return "\n".join(lines)

    def _law_in_words(self):
        law = self.law
        if law is None:
            return []
        if len(self) < 2:
            return ["One layer: the law of data separation needs more."]
        if not np.isfinite(law.slope):
            return ["No law of data separation: a value has no logarithm."]
        fit = f", Pearson's r = {law.correlation:.4g}."
        if len(self) == 2:
            fit = " (of two layers: a line fits always)."
        elif np.isnan(law.correlation):
            fit = ": it is the same everywhere."
        return [
            f"From layer to layer, separation changes by the factor "
            f"{law.decay_ratio:.4g}:",
            f"slope of its logarithm = {law.slope:.4g}{fit}",
        ]


def stages(
    model: keras.Model, head: keras.Layer | str | None = None
) -> list[keras.Layer]:
    """Returns the layers that a model's features pass, one after the other.

    A layer counts if everything that reaches the head passes it, so that
    branches inside of a residual block do not. Of these, the last before
    each next layer with a kernel is taken: what that layer, or block, sees.
    So a stage ends with the activation or pooling that follows a kernel, and
    the last one are the features of the head. What no kernel has changed,
    the data themselves, is left out, and so is a layer that is used twice.

    Args:
        model: A built Functional or Sequential `keras.Model`, in which others
            may be nested.
        head: The head or its name, or `None` to find it. Without any, the
            stages go up to the outputs.

    Raises:
        ValueError: If the model is subclassed, so that the order of its
            layers is not known, or if no stage is found.

    Example:

    >>> from nc_keras.layerwise import stages
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8, 8, 1)),
    ...         keras.layers.Conv2D(4, 3, name="conv"),
    ...         keras.layers.ReLU(name="relu"),
    ...         keras.layers.Flatten(name="flatten"),
    ...         keras.layers.Dense(16, activation="relu", name="dense"),
    ...         keras.layers.Dense(3, name="head"),
    ...     ]
    ... )
    >>> [layer.name for layer in stages(model)]
    ['flatten', 'dense']
    """
    head = last_layer(model, head)
    steps = list(_steps(model, head)) if _is_graph(model) else []
    times = collections.Counter(id(step) for step, _ in steps)
    found, last, has_begun = [], None, False
    for step, is_passed in steps:
        if _has_kernel(step):
            found.append(last if has_begun else None)
            last, has_begun = None, True
        if step is head:
            break
        is_layer = isinstance(step, keras.Layer) and times[id(step)] == 1
        if is_passed and is_layer:
            last = step
    else:
        found.append(last)
    found = [layer for layer in found if layer is not None]
    if not found:
        raise ValueError(
            f"The stages of model {model.name!r} cannot be found: it must be "
            "Functional or Sequential, with layers before its head. Pass "
            "`layers`, a list of its layers or of their names, in their "
            f"order. Its layers: {[layer.name for layer in model.layers]}."
        )
    return found


def _distinct(names):
    """The names, numbered where layers of nested models share them."""
    seen = collections.Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        times = seen[name]
        distinct.append(f"{name} ({times})" if times > 1 else name)
    return distinct


def num_classes_of(model: keras.Model, head: Any = None) -> int | None:
    """The number of outputs of a model's head, or `None` without any.

    Args:
        model: A built `keras.Model`.
        head: The head or its name, or `None` to find it.
    """
    found = Head(model, head) if head is not None else find_head_or_none(model)
    return None if found is None else found.num_classes


def _is_graph(model):
    return isinstance(model, keras.Model) and bool(
        getattr(model, "inputs", None)
    )


def _has_kernel(step):
    """Whether a layer mixes its inputs: normalisation scales them only."""
    if isinstance(step, keras.layers.PReLU):
        return False
    return any(len(w.shape) > 1 for w in getattr(step, "weights", []))


def _steps(model, head):
    """Yields operations in order, and whether all features pass their output.

    Nested models that all features pass stand for what they are made of.
    """
    ends = [tensor._keras_history[:2] for tensor in model.outputs]
    order, parents = _ordered(ends)
    heads = [key for key in order if key[0] is head]
    if heads:
        ends = heads[-1:]
        order, parents = _ordered(ends)
    passed = _passed_by_all(order, parents, ends)
    for operation, index in order:
        outputs = operation._inbound_nodes[index].output_tensors
        is_vector = len(outputs) == 1 and len(outputs[0].shape) > 1
        is_passed = (operation, index) in passed
        if isinstance(operation, keras.layers.InputLayer):
            continue
        if _is_graph(operation) and is_passed and len(operation.inputs) == 1:
            yield from _steps(operation, head)
        else:
            yield operation, is_passed and is_vector


def _ordered(ends):
    """Nodes of a graph up to these, each after its parents; the parents."""
    parents, order, stack = {}, {}, list(ends)
    while stack:
        key = stack[-1]
        if key in parents:
            order[stack.pop()] = True
            continue
        operation, index = key
        inputs = operation._inbound_nodes[index].input_tensors
        parents[key] = [tensor._keras_history[:2] for tensor in inputs]
        stack.extend(parents[key])
    return list(order), parents


def _passed_by_all(order, parents, ends):
    """The nodes on every path from an input to an end."""
    before, after = {}, collections.Counter(ends)
    for key in order:
        before[key] = sum(before[parent] for parent in parents[key]) or 1
    total = sum(before[key] for key in ends)
    for key in reversed(order):
        for parent in parents[key]:
            after[parent] += after[key]
    return {key for key in order if before[key] * after[key] == total}


class _Features(list):
    """The features of one batch at each layer."""

    @property
    def nbytes(self):
        return sum(array.nbytes for array in self)


class _Layers:
    """An extractor of several layers, for a `FeatureSource`."""

    def __init__(self, extractor):
        self._extractor = extractor

    def batches(self, *args, **kwargs) -> Iterator[tuple[_Features, Any]]:
        for features, labels in self._extractor.layer_batches(*args, **kwargs):
            yield _Features(features), labels


def _source(extractor, data, batch_size, memory, **choice):
    x, y = data if isinstance(data, tuple) else (data, None)
    return FeatureSource(_Layers(extractor), x, y, batch_size, memory, **choice)


def tags_of(metrics: str | Iterable[str] | None) -> list[str]:
    """The tags of what `layerwise` measures.

    Args:
        metrics: As in `layerwise`.

    Raises:
        ValueError: If one of them is not known, or needs a head.
    """
    has_separation, others = _select(metrics)
    return [SEPARATION] * has_separation + [metric.tag for metric in others]


def _select(metrics):
    """The metrics to measure, and whether `separation` is among them."""
    have = {"means", "train_means", "principal_variances"}
    if metrics is None:
        metrics = DEFAULT
    if metrics == "all":
        return True, select("all", have)
    tags = [metrics] if isinstance(metrics, str) else list(metrics)
    others = [tag for tag in tags if tag != SEPARATION]
    if tags and not others:
        return True, []
    return SEPARATION in tags, select(others, have | {"scatter"})


def _passes(names, chosen, num_classes, missing, train_means=None):
    train_means = train_means or [None] * len(names)
    return [
        _LayerPasses(name, *chosen, num_classes, missing, means)
        for name, means in zip(names, train_means, strict=True)
    ]


def _gather(passes, source):
    """The first pass over the examples, for all layers."""
    for features, labels in source:
        labels = partial_labels(labels, passes[0].num_classes)
        for one, array in zip(passes, features, strict=True):
            one.gather(validate_features(array, labels), labels)
    for one in passes:
        one.finish()


def _sweep(passes, source):
    """The second pass, over what was kept or by another forward pass."""
    if not any([one.begin_sweep() for one in passes]):
        return
    if not source.kept and not source.repeats:
        raise ValueError(
            "A second pass is needed over features that do not fit into "
            "`memory`, but this dataset can be iterated only once. Raise "
            "`memory`, choose fewer `layers`, pool the features, or pass a "
            "dataset that starts anew."
        )
    for features, labels in source:
        labels = partial_labels(labels, passes[0].num_classes)
        for one, array in zip(passes, features, strict=True):
            one.sweep(array, labels)


class _LayerPasses:
    """What two passes over the features of one layer gather."""

    def __init__(
        self,
        name: str,
        has_separation: bool,
        metrics: list[Metric],
        num_classes: int | None,
        missing: str,
        train_means: np.ndarray | None,
    ):
        present_classes(np.ones(2), missing)  # Says so before the data run.
        self.name = name
        self.num_classes = num_classes
        self._has_separation = has_separation
        self._metrics = metrics
        self._missing = missing
        self._train_means = train_means
        needs = set().union(*(m.needs for m in metrics))
        self._has_directions = has_separation or "principal_variances" in needs
        self._gathered = Accumulator(num_classes, "scatter" in needs)
        self._reductions = {}

    def gather(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Adds a batch, in the first pass."""
        for rows, block in blocks(features):
            with one_thread_for(block.size * (self.num_classes or 1)):
                self._gathered.update(block, labels[rows])

    def finish(self) -> None:
        """Ends the first pass."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            try:
                self._statistics = self._gathered.statistics()
            except NonFiniteError as error:
                raise NonFiniteError(f"Layer {self.name!r}: {error}") from error
            self.layer = layer_of(self._statistics, missing=self._missing)
        self._gathered = None

    @property
    def class_means(self) -> np.ndarray:
        """`(C, D)`, the class means; NaN for a class without examples."""
        return self._statistics.present_means

    def begin_sweep(self) -> bool:
        """Prepares the second pass, and returns whether it is needed."""
        over_examples = [m for m in self._metrics if m.over == "examples"]
        means = directions = None
        if self._has_directions:
            _, directions = self.layer.principal_directions
            self._centers = self._statistics.means @ directions.T
            self._within = np.zeros((len(directions),) * 2)
        if over_examples:
            means = self._train_means
            means = self.class_means if means is None else means
        self._rules = Rules(means=means, directions=directions)
        classes = len(self._statistics.counts)
        self._reductions = {m: Reduction(m, classes) for m in over_examples}
        return self._has_directions or bool(over_examples)

    def sweep(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Adds a batch, in the second pass."""
        size = 2 * len(self._statistics.counts)
        for rows, block in blocks(features, size):
            with one_thread_for(block.size * size):
                examples = Examples(block, labels[rows], self._rules)
                for reduction in self._reductions.values():
                    reduction.update(examples)
                if self._has_directions:
                    residuals = examples.along - self._centers[labels[rows]]
                    self._within += residuals.T @ residuals

    def values(self, pairs: int | None = None) -> dict[str, Any]:
        """The values of the metrics by their tags."""
        layer, values = self.layer, {}
        if self._has_directions:
            within = self._within / layer.counts.sum()
            layer = dataclasses.replace(
                layer, principal_variances=np.diag(within)
            )
            if self._has_separation:
                values[SEPARATION] = _separation(layer, within)
        of_examples = {m.tag: r.result() for m, r in self._reductions.items()}
        return values | evaluate(layer, self._metrics, of_examples, pairs)


def _separation(layer: LastLayer, within: np.ndarray) -> float:
    """`tr(SS_w SS_b^+)`, `within` being `SS_w` along the means' directions.

    The means weighted by the sizes of their classes span the same space as
    those that are not.
    """
    shares = layer.counts / layer.counts.sum()
    _, directions = layer.principal_directions
    rows = (layer.means - shares @ layer.means) @ directions.T
    rows = np.sqrt(shares)[:, None] * rows
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    differ = s > layer.rounding / layer.num_classes**0.5
    if not differ.any():
        return float("nan")
    along = np.einsum("jk,kl,jl->j", vt, within, vt)
    return float(np.sum(along[differ] / s[differ] ** 2))


def _aligned(rows):
    """Lines of a table whose first column is text and others are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *others in rows:
        cells = [name.ljust(widths[0])]
        for cell, width in zip(others, widths[1:], strict=True):
            cells.append(cell.rjust(width))
        lines.append("  ".join(cells))
    return lines
