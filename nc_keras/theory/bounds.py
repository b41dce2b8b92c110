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

import math
from typing import Any

import keras
import numpy as np

from nc_keras.arguments import checked
from nc_keras.measuring.batches import is_one_shot
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.metrics.margins import errors_of
from nc_keras.theory.bound_tables import Bound
from nc_keras.theory.bound_tables import Comparison
from nc_keras.theory.bounded_network import BoundedNetwork
from nc_keras.theory.bounded_network import Inputs
from nc_keras.theory.bounded_network import inputs_of


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
    network = BoundedNetwork(model)
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
    return _bound(
        network,
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
    network = BoundedNetwork(model)
    inputs = _as_inputs(model, x)
    norms = {
        one.name: one.norm * math.sqrt(count)
        for one, count in network.outputs()
    } | network.rhos
    return _bound(
        network,
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
    network = BoundedNetwork(model)
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
    batch_size: int | None = None,
) -> Comparison:
    """Computes all bounds, and what they bound where there are labels.

    Args:
        model: As in `convolutional`.
        train: The training set: tuple `(x, y)` of arrays, a dataset as in
            `nc_keras.measure`; or an array of examples, or their `Inputs`,
            without labels.
        test: A test set in the same form, with labels, or `None`.
        delta: As in `convolutional`.
        batch_size: Integer; by default one that suits the model.

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


_INPUTS_OF_A_PIXEL = (
    "inputs: sqrt(max_j sum_i ||x_ij||^2), of the brightest pixel j."
)
_INPUTS_OF_AN_EXAMPLE = "inputs: sqrt(sum_i ||x_i||^2), of all pixels."


def _bound(network, name, norms, inputs, delta, logs, factors, notes) -> Bound:
    """A bound on the Rademacher complexity, and its confidence."""
    _validate_delta(delta)
    log_rho, m = _log_product(norms), inputs.examples
    depth = 1 + math.sqrt(2 * (logs + math.log(network.classes)))
    # log(2 (rho + 2)^2 / delta), which is finite where rho is not.
    inner = math.log(2 / delta) + 2 * np.logaddexp(log_rho, math.log(2))
    return Bound(
        name=name,
        model=network.model.name,
        examples=m,
        classes=network.classes,
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


def _validate_delta(delta):
    if not 0 < delta < 1:
        raise ValueError(
            "`delta` is a probability between 0 and 1. "
            f"Received: delta={delta}."
        )


def _as_inputs(model, x):
    return x if isinstance(x, Inputs) else inputs_of(model, x)


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
