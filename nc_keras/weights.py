"""The weights of a network: their norms, their product rho, their ranks."""

from __future__ import annotations

import collections
import dataclasses
import math

import keras
import numpy as np
from keras import ops

from nc_keras.errors import NonFiniteError
from nc_keras.graph import all_layers
from nc_keras.graph import chain_of
from nc_keras.graph import children
from nc_keras.graph import unwrapped
from nc_keras.layers.batch_normalization import BatchNormalization
from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.rho import Rho
from nc_keras.layers.weight_norm_dense import WeightNormDense
from nc_keras.measuring.kernels import CONVOLUTIONS
from nc_keras.measuring.kernels import quantization
from nc_keras.measuring.kernels import to_float_numpy
from nc_keras.metrics.ranks import Ranks as Ranks
from nc_keras.metrics.ranks import ranks as ranks

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DENSE = (keras.layers.Dense, WeightNormDense, ETFClassifier)
# What multiplies its outputs by a, if its inputs are multiplied by a > 0.
_HOMOGENEOUS = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Dropout,
    *(getattr(keras.layers, f"SpatialDropout{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"ZeroPadding{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"Cropping{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"UpSampling{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"MaxPooling{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"AveragePooling{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"GlobalMaxPooling{d}D") for d in (1, 2, 3)),
    *(getattr(keras.layers, f"GlobalAveragePooling{d}D") for d in (1, 2, 3)),
    keras.layers.LeakyReLU,
    Rho,
)
_ACTIVATIONS = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.leaky_relu,
)
# The logarithm of the largest double.
_LARGEST = math.log(np.finfo("float64").max)
_NORMALIZATIONS = (keras.layers.BatchNormalization, BatchNormalization)


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one layer.

    Attributes:
        name: String, the name of the layer, with the models around it.
        layer: The Keras layer.
        kernel: Array of the shape that Keras gives it, float64. That of a
            weight-normalised layer is the one it computes with.

    Args:
        name: See the attributes; so for the other arguments.

    Example:

    >>> model = nc_keras.models.ConvNet((8, 8, 1), 3, filters=(4, 6))
    >>> [one.matrix.shape for one in nc_keras.weights.weights_of(model)]
    [(4, 9), (6, 36), (3, 6)]
    """

    name: str
    layer: keras.Layer
    kernel: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """The kernel with one row for each output unit or filter."""
        layer, kernel = self.layer, self.kernel
        if isinstance(layer, keras.layers.EinsumDense):
            return _matrix_of_equation(layer.equation, kernel)
        if isinstance(layer, _TRANSPOSED):
            kernel = np.swapaxes(kernel, -1, -2)
        return kernel.reshape(-1, kernel.shape[-1]).T

    @property
    def norm(self) -> float:
        """The Frobenius norm."""
        return float(np.linalg.norm(self.kernel))

    @property
    def is_convolution(self) -> bool:
        """Whether the same weights serve many positions."""
        return isinstance(self.layer, (*CONVOLUTIONS, *_TRANSPOSED))


def weights_of(model: keras.Model) -> list[Weights]:
    """Reads the weights of every dense layer and convolution of a model.

    Those in nested models and other layers count too. Biases, embeddings,
    normalisations and depthwise convolutions are no such weights.

    Args:
        model: A built `keras.Model`.

    Returns:
        List of `Weights`, in the order of the model.

    Raises:
        ValueError: If the model is not built, has none, or one is not finite
            or quantised.

    Example:

    >>> model = nc_keras.models.MLP((8,), 3, widths=(16,))
    >>> [one.name for one in nc_keras.weights.weights_of(model)][-1]
    'head'
    """
    if not model.built:
        raise ValueError(
            "The model has no weights yet. Call it on a batch, or "
            "`model.build(input_shape)`, first. "
            f"Received: model {model.name!r}, which is not built."
        )
    found: list[Weights] = []
    times: collections.Counter[str] = collections.Counter()
    for child in children(model):
        for name, owner, inner in _with_kernels(child, ""):
            times[name] += 1
            # Layers of a subclassed model may share a name.
            distinct = f"{name} ({times[name]})" if times[name] > 1 else name
            found.append(Weights(distinct, inner, _kernel(owner)))
    if not found:
        raise ValueError(
            "The model has neither a dense layer nor a convolution. "
            f"Received: model {model.name!r}."
        )
    for one in found:
        if not np.isfinite(one.kernel).all():
            raise NonFiniteError(
                f"The weights of layer {one.name!r} hold NaN or infinity."
            )
    return found


def homogeneous_weights(
    model: keras.Model, batch_norm: bool = False
) -> list[Weights]:
    """Reads the weights of a network that is homogeneous in each of them.

    Such a network is a chain of layers without biases, with the activations
    ReLU or leaky ReLU or none: twice the weights of a layer give twice the
    outputs. What comes before the first weights may be anything.

    Args:
        model: A built `Sequential` or `Functional` model.
        batch_norm: Boolean, whether BatchNormalization is let through, and
            biases with it. Defaults to `False`.

    Returns:
        List of `Weights`, from the first layer to the last.

    Raises:
        ValueError: If a layer is not homogeneous; the message names it.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4, 8))
    >>> [one.name for one in nc_keras.weights.homogeneous_weights(model)]
    ['conv_1', 'conv_2', 'head']
    """
    weights = weights_of(model)
    begun = False
    for layer, inner, is_chain in chain_of(model):
        has_kernel = any(inner is one.layer for one in weights)
        # A model that is called twice is not looked into.
        within = all_layers(inner) if isinstance(inner, keras.Model) else []
        begun = begun or has_kernel or any(w.layer in within for w in weights)
        reason = _why_not(layer, inner, is_chain, has_kernel, batch_norm)
        if begun and reason:
            raise ValueError(
                "The product of the norms normalises a network only if it is "
                "homogeneous in the weights of each layer. Build it as a "
                "chain without biases, with ReLU or leaky ReLU, such as "
                f"`nc_keras.models.HomogeneousNet`. Received: layer "
                f"{layer.name!r} of type {type(inner).__name__}, {reason}."
            )
    return weights


def rho(model: keras.Model, batch_norm: bool = False) -> float:
    """The product of the Frobenius norms of the weights of all layers.

    `f_W(x) = rho f_V(x)` with `rho = prod_k ||W_k||` and `V_k = W_k/||W_k||`,
    for a network that is homogeneous in each `W_k`.

    With `batch_norm`, what the authors' code computes where there is
    BatchNormalization, with scales `gamma` and running variances `var`, and
    with biases left out:

    `rho = prod_k ||W_k|| prod_j ||sqrt(gamma_j)|| / prod_j ||sqrt(var_j)||`.

    It is a scale to compare networks of one shape by; such a network is not
    homogeneous in its weights.

    Args:
        model: A built `Sequential` or `Functional` model.
        batch_norm: Boolean, as above. Defaults to `False`.

    Returns:
        Float; infinity beyond the largest double.

    Raises:
        ValueError: If the network is not homogeneous, naming the layer; or,
            with `batch_norm`, if a `gamma` is negative.

    Example:

    >>> model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8,))
    >>> norms = [one.norm for one in nc_keras.weights.weights_of(model)]
    >>> print(round(nc_keras.weights.rho(model) / np.prod(norms), 9))
    1.0

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024); the form
      with BatchNormalization is that of the authors' code, `complexity.py` of
      GraceXu182/binaryclassifiers_squareloss.
    """
    weights = homogeneous_weights(model, batch_norm)
    logs = [math.log(one.norm) if one.norm else -math.inf for one in weights]
    for layer, inner, _ in chain_of(model):
        if isinstance(inner, Rho):
            value = float(ops.convert_to_numpy(inner.value))
            logs.append(math.log(abs(value)) if value else -math.inf)
        if batch_norm and isinstance(inner, _NORMALIZATIONS):
            logs.extend(_logs_of_normalization(layer))
    total = sum(logs)
    return math.exp(total) if total < _LARGEST else math.inf


def _with_kernels(layer, path):
    """Yields names, layers, and the layers that say what the kernel is."""
    inner = unwrapped(layer)
    known = (*_DENSE, *CONVOLUTIONS, keras.layers.EinsumDense, *_TRANSPOSED)
    name = f"{path}/{layer.name}" if path else layer.name
    if isinstance(inner, known):
        yield name, layer, inner
        return
    for one in children(layer):
        yield from _with_kernels(one, name)


def _kernel(layer):
    mode = quantization(layer)
    if mode is not None:
        raise ValueError(
            f"The weights of layer {layer.name!r} are quantised ({mode}): "
            "codes, which are no weights. Look at them before "
            "`model.quantize`. "
            f"Received: a layer with quantization_mode={mode!r}."
        )
    kernel = layer.kernel
    return to_float_numpy(kernel).astype("float64")


def _matrix_of_equation(equation, kernel):
    """Outputs by inputs of an EinsumDense, of `abc,cde->abde` for example."""
    letters = equation.split(",")[1].split("->")[0]
    outputs = equation.split("->")[1]
    rows = [i for i, letter in enumerate(letters) if letter in outputs]
    columns = [i for i in range(len(letters)) if i not in rows]
    size = math.prod(kernel.shape[i] for i in rows)
    return kernel.transpose(rows + columns).reshape(size, -1)


def _why_not(layer, inner, is_chain, has_kernel, batch_norm):
    """Says why a layer is not homogeneous, or nothing."""
    if not is_chain:
        return "which joins several tensors, or is used more than once"
    activation = getattr(inner, "activation", None)
    if activation not in (None, *_ACTIVATIONS):
        name = getattr(activation, "__name__", activation)
        return f"with the activation {name}"
    if has_kernel:
        is_dense = isinstance(inner, (*_DENSE, *CONVOLUTIONS))
        if not is_dense:
            return "whose kernel is not that of a dense layer or convolution"
        has_bias = getattr(inner, "bias", None) is not None
        return "with a bias" if has_bias and not batch_norm else None
    if isinstance(inner, keras.layers.ReLU):
        bounds = inner.max_value, inner.threshold or None
        return "with a threshold or maximum" if any(bounds) else None
    if isinstance(inner, _NORMALIZATIONS) and batch_norm:
        return None
    if isinstance(inner, (*_HOMOGENEOUS, keras.layers.Activation)):
        return None
    return "which is not homogeneous"


def _logs_of_normalization(layer):
    """log ||sqrt(gamma)|| and -log ||sqrt(var)|| of the authors' code."""
    variance = ops.convert_to_numpy(layer.moving_variance).astype("float64")
    gamma = np.ones_like(variance)
    if layer.gamma is not None:
        gamma = ops.convert_to_numpy(layer.gamma).astype("float64")
    if (gamma < 0).any():
        raise ValueError(
            "rho with BatchNormalization takes the square root of its scales. "
            f"Received: layer {layer.name!r} with the smallest gamma "
            f"{gamma.min():.3g}."
        )
    # The norm of the roots is the root of the sum.
    return math.log(gamma.sum()) / 2, -math.log(variance.sum()) / 2
