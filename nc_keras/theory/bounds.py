"""Norm-based generalisation bounds, factor by factor.

With probability `1 - delta` over the `m` training examples, for all networks
of one architecture at once,

`test error <= margin error + bound`,

where the margin error is the share of training examples whose output of the
label exceeds the others by no more than one. A bound above one says nothing,
since an error is at most one: such a bound is called vacuous.

`rho` is the product of the Frobenius norms of the filters and of the dense
layers, `x_ij` what the first weights see of example `i` at pixel `j`. A bound
grows in proportion to these inputs: scale images to `[0, 1]`. Layers without
trained weights in front, such as `keras.layers.Rescaling`, are preprocessing.

Networks have no biases here. Those of the authors have, and their code leaves
them out of `rho`; a network with biases is refused instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.graph import chain_of
from nc_keras.graph import unwrapped
from nc_keras.labels import partial_labels
from nc_keras.layers.rho import Rho
from nc_keras.measuring.batches import is_one_shot
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.weights import Weights
from nc_keras.weights import homogeneous_weights

_WIDTH = 80
_NAME = 26  # columns of a name
_CELL = 13  # columns of a number
_BARS = 4  # marks for a factor of ten
_MOST = _WIDTH - _NAME - _CELL - 10
_SEQUENCES = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
# What comes between the weights: it acts on each number, or moves them.
_COVERED = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Dropout,
    *(getattr(keras.layers, f"SpatialDropout{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"ZeroPadding{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"Cropping{d}D") for d in (1, 2, 3)),
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    Rho,
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the bounds know of the training examples.

    Attributes:
        examples: Integer, `m`.
        largest: Float, `max_j sum_i ||x_ij||^2`, over the pixels `j`, of all
            channels of a pixel.
        total: Float, `sum_i ||x_i||^2`.

    Args:
        examples: As above, and so are the others.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> bounds.inputs_of(model, np.ones((5, 8, 8, 1)))
    Inputs(examples=5, largest=5.0, total=320.0)
    """

    examples: int
    largest: float
    total: float


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """A bound on a generalisation gap, which prints as a table.

    Attributes:
        name: String, which of the bounds it is.
        model: String, the name of the model.
        examples: Integer, `m`.
        classes: Integer, `k`.
        delta: Float, the bound fails with at most this probability.
        norms: Dictionary from names of layers to their norms, those that the
            bound has in it.
        factors: Dictionary from names to floats, the factors of `product`.
        confidence: Float, the term that is added to the product.
        notes: Tuple of strings, what to know beside the numbers.

    Args:
        name: As above, and so are the others.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> bound = bounds.convolutional(model, np.ones((5, 8, 8, 1)))
    >>> print(np.prod(list(bound.factors.values())) == bound.product)
    True
    >>> print(bound.value == bound.product + bound.confidence)
    True
    """

    name: str
    model: str
    examples: int
    classes: int
    delta: float
    norms: Mapping[str, float]
    factors: Mapping[str, float]
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def product(self) -> float:
        """The product of the factors; infinity if a float cannot hold it."""
        return math.prod(self.factors.values())

    @property
    def value(self) -> float:
        """The bound: the product and the confidence term."""
        return self.product + self.confidence

    @property
    def is_vacuous(self) -> bool:
        """Whether the bound is above one, where it says nothing."""
        return not self.value <= 1

    @property
    def examples_needed(self) -> float:
        """About how many examples would make it one, were the rest as it is.

        Norms of inputs grow as the root of the number of examples, so that
        the bound falls as its inverse.
        """
        return self.examples * self.value**2

    def __str__(self) -> str:
        lines = [
            f"{self.name} bound of {self.model!r}: {self.examples:,} examples,"
            f" {self.classes:,} classes, delta {self.delta:g}",
            "",
            "norms of the layers".ljust(_NAME) + "value".rjust(_CELL)
            + "log10".rjust(8),
            *(_row(f"  {name}", value) for name, value in self.norms.items()),
            "factors",
            *(_row(f"  {name}", v) for name, v in self.factors.items()),
            _row("product", self.product),
            _row("confidence, added", self.confidence),
            _row("bound", self.value),
            "",
            *(self._verdict(), *self.notes),
        ]  # fmt: skip
        return "\n".join(line.rstrip() for line in lines)

    def _verdict(self):
        if not self.is_vacuous:
            return "Not vacuous: errors above the bound are ruled out."
        most = max(self.factors, key=self.factors.get)
        return (
            f"Vacuous, since no error is above 1. Largest factor: {most}.\n"
            "With the same norms it would be 1 from about "
            f"{self.examples_needed:.1g} examples on."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Bounds beside one another, and what they bound.

    Attributes:
        bounds: Dictionary from names to `Bound`s.
        measured: Dictionary with `training_error` and `margin_error` (outputs
            that exceed the others by no more than one), `test_error` and
            `gap`, as far as there were labels.

    Args:
        bounds: As above, and so is the other.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> comparison = bounds.compare(model, np.ones((5, 8, 8, 1)))
    >>> list(comparison.bounds)
    ['convolutional', 'positions', 'dense', 'spectral']
    """

    bounds: Mapping[str, Bound]
    measured: Mapping[str, float]

    @property
    def orders_of_magnitude(self) -> float:
        """By how many the convolutional bound is below the dense one."""
        bounds = self.bounds
        ratio = bounds["dense"].value / bounds["convolutional"].value
        return _log10(ratio)

    def __str__(self) -> str:
        bounds = list(self.bounds.values())
        first = bounds[0]
        title = (
            f"Generalisation bounds of {first.model!r}: {first.examples:,} "
            f"examples, {first.classes:,} classes"
        )
        lines = [title, "", _cells("", self.bounds), "norms of the layers"]
        lines += _union([bound.norms for bound in bounds])
        lines += ["factors", *_union([bound.factors for bound in bounds])]
        for name, values in {
            "product": [bound.product for bound in bounds],
            "confidence, added": [bound.confidence for bound in bounds],
            "bound": [bound.value for bound in bounds],
            "log10": [_log10(bound.value) for bound in bounds],
        }.items():
            lines.append(_cells(name, map(_number, values)))
        vacuous = ["yes" if b.is_vacuous else "no" for b in bounds]
        lines += [_cells("vacuous (above 1)", vacuous), "", *self._words()]
        return "\n".join(line.rstrip() for line in lines)

    def _words(self):
        yield (
            "The convolutional bound is "
            f"{self.orders_of_magnitude:.1f} orders of magnitude below the "
            "dense one."
        )
        words = [
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in self.measured.items()
        ]
        if words:
            yield f"Measured: {', '.join(words)}."
            yield "test error <= margin error + bound, if the bound holds."


@checked(model="model", x="data", delta="number")
def convolutional(
    model: keras.Model, x: Any, delta: float = 1e-3, positions: bool = False
) -> Bound:
    """The bound by the norms of the filters, whatever their positions.

    `B = (rho + 1)/m 2 sqrt(2) (1 + sqrt(2 (L log(2 d^2) + log k)))
     sqrt(max_j sum_i ||x_ij||^2) prod_l d_l + 3 sqrt(log(2 (rho + 2)^2 /
     delta) / (2 m))`

    with `L` layers of weights, the kernel widths `d_l` of the convolutions,
    the largest of them `d`, and `k` classes. A filter of other than square
    shape has the root of its size as `d_l`; strides, dilation and padding
    do not enter.

    That is the formula of the authors' code. It leaves out the `P` positions
    at which the first dense layer sees the last convolution. Peeling off the
    layers shows that the Rademacher complexity of one output is at most

    `rho/m (1 + sqrt(2 (L log 2 + sum_l log p_l)))
     sqrt(max_j sum_i ||x_ij||^2 prod_l p_l)`

    where `p_l` is the number of positions that a layer sees: `d_l^2`, and `P`
    of the dense layer. Without `P` there are networks of greater complexity
    (the tests have one). `positions=True` counts `P` and sums the logarithms;
    the constants, and `log k`, stay those of the code.

    Args:
        model: A built model that is homogeneous in its weights, a chain of
            convolutions and then dense layers, such as
            `nc_keras.models.HomogeneousNet`; also normalised, with
            `nc_keras.models.Normalized` or
            `nc_keras.layers.WeightNormalization`.
        x: The training examples: an array, or what `nc_keras.measure` takes
            as data; or the `Inputs` of them.
        delta: Float in `(0, 1)`, the probability that the bound may fail.
            Defaults to `1e-3`, as in the authors' code.
        positions: Boolean, as above. Defaults to `False`.

    Returns:
        `Bound`. It is infinity where a float cannot hold it.

    Raises:
        ValueError: If the model has a layer that the formula does not cover,
            naming it; if the inputs are not finite, or all zero; or if
            `delta` is out of range.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4, 8))
    >>> x = np.random.default_rng(0).uniform(size=(100, 8, 8, 1))
    >>> bound = bounds.convolutional(model, x)
    >>> print(round(bound.factors["kernel widths"], 6))
    9.0
    >>> bound.value < bounds.fully_connected(model, x).value
    True

    Reference:

    - [Galanti et al., 2023](https://arxiv.org/abs/2301.12033); the formula is
      that of the authors' code, `utils.py` of lianegalanti/gen.
    """
    network = _Network(model)
    inputs = _as_inputs(model, x)
    norms = {one.name: one.norm for one in network.weights} | network.rhos
    seen = [*network.kernel_sizes, network.positions if positions else 1]
    depth = len(network.weights)
    logs = depth * math.log(2 * max(seen))
    if positions:
        logs = depth * math.log(2) + sum(map(math.log, seen))
    factors = {
        "inputs": math.sqrt(inputs.largest),
        "kernel widths": math.sqrt(math.prod(network.kernel_sizes)),
    }
    if positions:
        factors["positions"] = math.sqrt(network.positions)
    return network.bound(
        "positions" if positions else "convolutional",
        norms,
        inputs,
        delta,
        logs,
        factors,
        (_INPUTS_OF_A_PIXEL, *network.notes(positions)),
    )


@checked(model="model", x="data", delta="number")
def fully_connected(model: keras.Model, x: Any, delta: float = 1e-3) -> Bound:
    """The bound that takes convolutions as the dense layers that they are.

    `B = (rho' + 1)/m 2 sqrt(2) (1 + sqrt(2 (L log 2 + log k)))
     sqrt(sum_i ||x_i||^2) + 3 sqrt(log(2 (rho' + 2)^2 / delta) / (2 m))`

    where `rho'` is the product of the norms of the matrices: a convolution
    with the kernel `w` and outputs at `H W` positions is a Toeplitz matrix of
    norm `||w|| sqrt(H W)`, a little less where padding cuts filters off.

    Args:
        model: As in `convolutional`.
        x: As in `convolutional`.
        delta: As in `convolutional`.

    Returns:
        `Bound`.

    Raises:
        ValueError: As `convolutional`; or if the size of the outputs of a
            convolution is not known.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4, 8))
    >>> bound = bounds.fully_connected(model, np.ones((100, 8, 8, 1)))
    >>> first = nc_keras.weights.weights_of(model)[0]
    >>> print(round(bound.norms["conv_1"] / first.norm, 6))
    4.0

    Reference:

    - [Golowich et al., 2018](https://arxiv.org/abs/1712.06541); the formula
      is that of the code of Galanti et al., as in `convolutional`.
    """
    network = _Network(model)
    inputs = _as_inputs(model, x)
    norms = {
        one.name: one.norm * math.sqrt(count)
        for one, count in network.outputs()
    } | network.rhos
    return network.bound(
        "dense",
        norms,
        inputs,
        delta,
        len(network.weights) * math.log(2),
        {"inputs": math.sqrt(inputs.total)},
        (_INPUTS_OF_AN_EXAMPLE,),
    )


@checked(model="model", x="data", delta="number")
def spectral(model: keras.Model, x: Any, delta: float = 1e-3) -> Bound:
    """The bound by the number of parameters and spectral norms.

    `B = L (prod_l s_l)^(1/L) sqrt(W / m) + sqrt(log(1 / delta) / m)`

    with the `W` trainable parameters and the largest singular values `s_l` of
    the filters as matrices, one row a filter. That is how the code of Galanti
    et al. compares with Long & Sedghi. There is no constant in front: take it
    for an order of magnitude.

    Args:
        model: As in `convolutional`.
        x: As in `convolutional`; only the number of examples enters.
        delta: As in `convolutional`.

    Returns:
        `Bound`.

    Raises:
        ValueError: As `convolutional`; or if no parameter is trainable.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4, 8))
    >>> x = np.ones((100, 8, 8, 1))
    >>> half = bounds.spectral(model, np.concatenate([x] * 4))
    >>> print(round(bounds.spectral(model, x).value / half.value, 6))
    2.0

    Reference:

    - [Long & Sedghi, 2020](https://arxiv.org/abs/1905.12600); the formula is
      that of the code of Galanti et al., as in `convolutional`.
    """
    network = _Network(model)
    inputs = _as_inputs(model, x)
    _validate_delta(delta)
    parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    if not parameters:
        raise ValueError(
            "The bound counts the trainable parameters. Received: model "
            f"{model.name!r} without any; set `model.trainable = True`."
        )
    norms = {
        one.name: float(np.linalg.norm(one.matrix, 2))
        for one in network.weights
    } | network.rhos
    depth = len(network.weights)
    return Bound(
        name="spectral",
        model=model.name,
        examples=inputs.examples,
        classes=network.classes,
        delta=delta,
        norms=norms,
        factors={
            "depth": float(depth),
            "mean spectral norm": _exp(_log_product(norms) / depth),
            "sqrt(parameters)": math.sqrt(parameters),
            "1 / sqrt(m)": 1 / math.sqrt(inputs.examples),
        },
        confidence=math.sqrt(-math.log(delta) / inputs.examples),
        notes=("The mean is the geometric one. No constant is in front.",),
    )


@checked(
    model="model",
    train="data",
    test="data",
    delta="number",
    batch_size="integer",
)
def compare(
    model: keras.Model,
    train: Any,
    test: Any = None,
    delta: float = 1e-3,
    batch_size: int = 256,
) -> Comparison:
    """Computes all bounds, and what they bound where there are labels.

    Args:
        model: As in `convolutional`.
        train: The training set: tuple `(x, y)` of arrays, a dataset as in
            `nc_keras.measure`; or an array of examples, or their `Inputs`,
            without labels.
        test: A test set in the same form, with labels, or `None`.
        delta: As in `convolutional`.
        batch_size: Integer, for arrays. The values do not depend on it.

    Returns:
        `Comparison`, which prints as a table.

    Raises:
        ValueError: As `convolutional`; or if the data can be iterated over
            only once.

    Example:

    >>> from nc_keras.theory import bounds
    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4, 8))
    >>> x = np.random.default_rng(0).uniform(size=(90, 8, 8, 1))
    >>> y = np.arange(90) % 3
    >>> comparison = bounds.compare(model, (x[:60], y[:60]), (x[60:], y[60:]))
    >>> list(comparison.measured)
    ['training_error', 'margin_error', 'test_error', 'gap']

    Reference:

    - [Galanti et al., 2023](https://arxiv.org/abs/2301.12033).
    """
    if is_one_shot(train):
        raise ValueError(
            "The training data are read twice. Received: an iterator, of "
            f"type {type(train).__name__}; pass a list of its batches."
        )
    inputs = train
    if not isinstance(train, Inputs):
        inputs = inputs_of(model, train, batch_size)
    found = [
        convolutional(model, inputs, delta),
        convolutional(model, inputs, delta, positions=True),
        fully_connected(model, inputs, delta),
        spectral(model, inputs, delta),
    ]
    measured = _measured(model, train, test, batch_size)
    return Comparison({bound.name: bound for bound in found}, measured)


@checked(model="model", x="data", batch_size="integer")
def inputs_of(model: keras.Model, x: Any, batch_size: int = 256) -> Inputs:
    """Sums up what the first weights of a model see of the examples.

    One pass over the data. Where the layers in front learn nothing, the same
    `Inputs` serve all bounds, all along a training.

    Args:
        model: As in `convolutional`.
        x: As in `convolutional`.
        batch_size: Integer, for arrays.

    Returns:
        `Inputs`. For a first layer that is dense, an example is one pixel.

    Raises:
        ValueError: If the inputs are not finite, or are all zero; and as
            `convolutional`.

    Example:

    >>> from nc_keras.theory import bounds
    >>> net = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    >>> scaled = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), net]
    >>> images = np.full((5, 8, 8, 1), 255, "uint8")
    >>> bounds.inputs_of(keras.Sequential(scaled), images)
    Inputs(examples=5, largest=5.0, total=320.0)
    """
    network = _Network(model)
    extractor = FeatureExtractor(model, features=network.inputs)
    sums, count = 0.0, 0
    for rows, _ in extractor.batches(*_with_labels(x), batch_size):
        pixels = rows.astype("float64").reshape(len(rows), -1, network.channels)
        sums = sums + np.einsum("ijc,ijc->j", pixels, pixels)
        count += len(rows)
    total = float(np.sum(sums))
    if not math.isfinite(total):
        raise ValueError(
            "The inputs of the first weights must be finite. Received: NaN, "
            f"infinity or overflow at layer {network.weights[0].name!r}."
        )
    if total == 0:
        raise ValueError(
            "The inputs of the first weights are zero everywhere, at layer "
            f"{network.weights[0].name!r}: there is nothing to bound."
        )
    return Inputs(count, float(np.max(sums)), total)


@checked(data="data", batch_size="integer")
def errors_of(
    model: keras.Model | FeatureExtractor, data: Any, batch_size: int = 256
) -> tuple[float, float]:
    """The share of wrong answers, and that of margins of at most one.

    Args:
        model: A built model whose outputs are raw, one a class; or, for many
            calls, `nc_keras.FeatureExtractor(model, features=model)`, which
            builds its function once.
        data: Tuple `(x, y)` of arrays, or a dataset as in `nc_keras.measure`.
        batch_size: Integer, for arrays.

    Returns:
        Two floats: the error, and the margin error, in which an example
        counts unless the output of its label exceeds all others by more than
        one. Wrong answers count in both.

    Raises:
        ValueError: If an output is not finite, or the labels are invalid.

    Example:

    >>> from nc_keras.theory import bounds
    >>> layer = keras.layers.Dense(2, use_bias=False)
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> _ = layer.kernel.assign(np.eye(2))
    >>> x = np.array([[3.0, 0.0], [0.5, 0.0], [0.0, 0.9], [0.0, 2.0]])
    >>> bounds.errors_of(model, (x, [0, 0, 1, 0]))
    (0.25, 0.75)
    """
    if isinstance(model, keras.Model):
        model = FeatureExtractor(model, features=model)
    elif not isinstance(model, FeatureExtractor):
        raise TypeError(
            "`model` must be a `keras.Model` or a `nc_keras.FeatureExtractor`. "
            f"Received: model of type {type(model).__name__}."
        )
    x, y = data if isinstance(data, tuple) else (data, None)
    wrong = narrow = count = 0
    for outputs, labels in model.batches(x, y, batch_size):
        scores = outputs.astype("float64")
        if not np.isfinite(scores).all():
            raise ValueError(
                "The outputs of the model must be finite. Received: NaN or "
                f"infinity of model {model.model.name!r}."
            )
        labels = partial_labels(labels, scores.shape[1])
        rows = np.arange(len(scores))
        own = scores[rows, labels]
        wrong += np.sum(scores.argmax(axis=-1) != labels)
        scores[rows, labels] = -np.inf
        narrow += np.sum(own - scores.max(axis=-1) <= 1)
        count += len(rows)
    return float(wrong / count), float(narrow / count)


_INPUTS_OF_A_PIXEL = (
    "inputs: sqrt(max_j sum_i ||x_ij||^2), of the brightest pixel j."
)
_INPUTS_OF_AN_EXAMPLE = "inputs: sqrt(sum_i ||x_i||^2), of all pixels."


class _Network:
    """What the bounds read from a model."""

    def __init__(self, model: keras.Model):
        self.model = model
        self.weights: list[Weights] = homogeneous_weights(model)
        self.rhos: dict[str, float] = {}
        self._owners: list[keras.Layer] = []
        layers = [one.layer for one in self.weights]
        for owner, inner, _ in chain_of(model):
            is_weight = any(inner is one for one in layers)
            if is_weight:
                self._owners.append(owner)
            _validate(owner, inner, is_weight, bool(self._owners))
            if isinstance(inner, Rho):
                value = float(ops.convert_to_numpy(inner.value))
                self.rhos[owner.name] = abs(value)
        if isinstance(layers[-1], _SEQUENCES):
            _refuse(self._owners[-1], "which has no dense layer behind it")

    @property
    def classes(self) -> int:
        return self.weights[-1].kernel.shape[-1]

    @property
    def channels(self) -> int:
        """Those of one pixel of the inputs."""
        return self.weights[0].kernel.shape[-2]

    @property
    def kernel_sizes(self) -> list[int]:
        """How many positions each convolution sees at once."""
        return [
            math.prod(one.kernel.shape[:-2])
            for one in self.weights
            if one.is_convolution
        ]

    @property
    def positions(self) -> int:
        """At how many the first dense layer sees the last convolution."""
        count = len(self.kernel_sizes)
        if not count:
            return 1
        filters = self.weights[count - 1].kernel.shape[-1]
        return self.weights[count].kernel.shape[0] // filters

    def outputs(self) -> Iterator[tuple[Weights, int]]:
        """Yields weights, and the positions at which they are applied."""
        for one, owner in zip(self.weights, self._owners, strict=True):
            sizes = ()
            if one.is_convolution:
                sizes = owner.output.shape[1:-1]
                if one.layer.data_format == "channels_first":
                    sizes = owner.output.shape[2:]
            if None in sizes:
                _refuse(owner, "whose outputs have no fixed size")
            yield one, math.prod(sizes)

    def inputs(self, x: Any) -> Any:
        """The inputs of the first weights, channels last, one row each."""
        owner, found = self._owners[0], []
        call = owner.call

        def recorded(inputs, *args, **kwargs):
            found.append(inputs)
            return call(inputs, *args, **kwargs)

        try:
            # Past Keras, which would track what is set on a layer.
            vars(owner)["call"] = recorded
            self.model(x, training=False)
        finally:
            del vars(owner)["call"]
        (tensor,) = found
        layer = self.weights[0].layer
        if getattr(layer, "data_format", None) == "channels_first":
            tensor = ops.moveaxis(tensor, 1, -1)
        return ops.reshape(tensor, (ops.shape(tensor)[0], -1))

    def notes(self, positions: bool) -> Iterator[str]:
        """What the convolutional bound makes of the dense layer."""
        count = self.positions
        if count > 1 and not positions:
            yield (
                f"Not counted, as in the authors' code: the {count:,} positions"
                " that the dense\nlayer sees (positions=True: another factor "
                f"of {math.sqrt(count):.3g})."
            )

    def bound(self, name, norms, inputs, delta, logs, factors, notes) -> Bound:
        """A bound on the Rademacher complexity, and its confidence."""
        _validate_delta(delta)
        log_rho, m = _log_product(norms), inputs.examples
        depth = 1 + math.sqrt(2 * (logs + math.log(self.classes)))
        # log(2 (rho + 2)^2 / delta), which is finite where rho is not.
        inner = math.log(2 / delta) + 2 * np.logaddexp(log_rho, math.log(2))
        return Bound(
            name=name,
            model=self.model.name,
            examples=m,
            classes=self.classes,
            delta=delta,
            norms=norms,
            factors={
                "rho + 1": _exp(log_rho) + 1,
                **factors,
                "depth and classes": depth,
                "2 sqrt(2)": 2 * math.sqrt(2),
                "1 / m": 1 / m,
            },
            confidence=3 * math.sqrt(float(inner) / (2 * m)),
            notes=notes,
        )


def _validate(owner, inner, is_weight, has_begun):
    """Raises an error if the formulas do not cover a layer."""
    if not has_begun:
        if getattr(owner, "trainable_weights", None):
            _refuse(owner, "which learns, in front of the first weights")
        return
    slope = getattr(inner, "negative_slope", 0.0)
    if slope and slope > 1:
        _refuse(owner, f"with a slope of {float(slope):g}")
    if is_weight:
        if getattr(inner, "groups", 1) > 1:
            _refuse(owner, f"with {inner.groups} groups")
        is_dense = not isinstance(inner, _SEQUENCES)
        if is_dense and len(owner.output.shape) > 2:
            _refuse(owner, "which is applied at many positions; use Flatten")
        return
    is_flat = isinstance(inner, keras.layers.Reshape) and (
        len(inner.target_shape) == 1
    )
    if not is_flat and not isinstance(inner, _COVERED):
        _refuse(owner, "for which the formula is not made")


def _refuse(layer, reason):
    raise ValueError(
        "The bounds cover chains of convolutions, and then dense layers, with "
        "ReLU between them, such as `nc_keras.models.HomogeneousNet`: no "
        f"pooling, no groups. Received: layer {layer.name!r} of type "
        f"{type(unwrapped(layer)).__name__}, {reason}."
    )


def _validate_delta(delta):
    if not 0 < delta < 1:
        raise ValueError(
            "`delta` is a probability between 0 and 1. "
            f"Received: delta={delta}."
        )


def _as_inputs(model, x):
    return x if isinstance(x, Inputs) else inputs_of(model, x)


def _with_labels(x):
    """Examples and labels; an array of examples gets some."""
    if isinstance(x, tuple) and len(x) == 2:
        return x
    return (x, np.zeros(len(x), "int64")) if hasattr(x, "shape") else (x, None)


def _measured(model, train, test, batch_size):
    """The errors of the data that have labels."""
    extractor = FeatureExtractor(model, features=model)
    measured = {}
    if not (hasattr(train, "shape") or isinstance(train, Inputs)):
        error, margin_error = errors_of(extractor, train, batch_size)
        measured = {"training_error": error, "margin_error": margin_error}
    if test is not None:
        measured["test_error"] = errors_of(extractor, test, batch_size)[0]
    if len(measured) == 3:
        gap = measured["test_error"] - measured["training_error"]
        measured["gap"] = gap
    return measured


def _log_product(norms):
    values = norms.values()
    return sum(math.log(v) if v else -math.inf for v in values)


def _exp(log):
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf


def _log10(value):
    if not 0 < value < math.inf:
        return math.inf if value else -math.inf
    return math.log10(value)


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _row(name, value):
    """A name, a value and its decades, as a number and as marks."""
    decades = _log10(value)
    marks = min(_MOST, abs(decades) * _BARS) if value else _MOST
    bar = ("+" if decades > 0 else "-") * round(marks)
    return (
        f"{_short(name):{_NAME}}{_number(value):>{_CELL}}{decades:8.2f}  {bar}"
    )


def _short(name):
    return name if len(name) < _NAME else f"{name[: _NAME - 4]}..."


def _cells(name, values):
    return f"{_short(name):{_NAME}}" + "".join(f"{v:>{_CELL}}" for v in values)


def _union(columns):
    """Rows for the names of all columns."""
    # The longest column first, whose order the others share.
    ordered = sorted(columns, key=len, reverse=True)
    names = dict.fromkeys(name for column in ordered for name in column)
    for name in names:
        values = [_number(column.get(name)) for column in columns]
        yield _cells(f"  {name}", values)
