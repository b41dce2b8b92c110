"""Layers of which the gradients are known from what flows through them.

A rule calls its layer so that a tensor of zeros is added to what the layer
makes of its weights, before the activation. The gradient with respect to that
tensor, and the inputs, are all that the layer's share of the tangent kernel
needs. The next kind of layer is one more rule here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nc_keras.kernel.parts import Lookup
from nc_keras.kernel.parts import Outer
from nc_keras.kernel.parts import Rows
from nc_keras.kernel.patches import groups_of
from nc_keras.kernel.patches import patches
from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.lengths import lengths
from nc_keras.layers.rho import Rho
from nc_keras.layers.weight_norm_dense import WeightNormDense
from nc_keras.layers.weight_normalization import WeightNormalization
from nc_keras.recording import replaced

_LINEAR = (
    keras.layers.Dense,
    ETFClassifier,
    *(getattr(keras.layers, f"Conv{d}D") for d in (1, 2, 3)),
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_AFFINE = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)


class Rule:
    """What is known of one layer, and how.

    Args:
        layer: The layer.

    Attributes:
        layer: The layer.
        weights: Its weights that are trained.
        is_linear: Whether the layer has a `kernel` that multiplies inputs.
    """

    is_linear = False

    def __init__(self, layer: keras.Layer):
        self.layer = layer
        self.weights = layer.trainable_weights

    def known(self) -> Sequence[Any]:
        """The weights for which `parts` speaks, or more."""
        raise NotImplementedError

    def call(
        self, call: Callable, shift: Any, inputs: Any, *args: Any, **kwargs: Any
    ) -> tuple[Any, tuple]:
        """Calls the layer with a shift.

        Args:
            call: The layer's own `call`.
            shift: Tensor of the shape of what it makes, or zero.
            inputs: What the layer gets.
            *args: More of it.
            **kwargs: More of it.

        Returns:
            The outputs; and tensors, of which the first is what was shifted.
        """
        raise NotImplementedError

    def parts(self, found: tuple, backward: Any) -> list:
        """The gradients of the layer's weights.

        Args:
            found: What `call` returned after the shifted tensor.
            backward: Tensor of shape `(C, N, ...)`, the gradients with
                respect to the shift.
        """
        raise NotImplementedError

    def positions(self, backward: Any) -> Any:
        """What flows back to it by position, `(C, N, T, G, O)`."""
        return _positions(self.layer, backward)

    def is_trained(self, weight: Any) -> bool:
        return any(one is weight for one in self.weights)


class Linear(Rule):
    """A dense layer or a convolution."""

    is_linear = True

    def known(self):
        return [getattr(self.layer, "kernel", None), self.layer.bias]

    def call(self, call, shift, inputs, *args, **kwargs):
        layer, activation = self.layer, _activation(self.layer)
        with _linear(layer):
            made = call(inputs, *args, **kwargs)
        return activation(made + shift), (made, inputs)

    def parts(self, found, backward):
        (inputs,) = found
        outer = _outer(self.layer, inputs, backward)
        has_bias = self.is_trained(self.layer.bias)
        if not self.is_trained(getattr(self.layer, "kernel", None)):
            return [_bias(outer.backward)] if has_bias else []
        return [(outer.with_bias() if has_bias else outer).compact()]


class NormalizedDense(Rule):
    """`WeightNormDense`: direction and length of each unit."""

    is_linear = True

    def known(self):
        return [self.layer.v, self.layer.g, self.layer.bias]

    def call(self, call, shift, inputs, *args, **kwargs):
        layer, activation = self.layer, _activation(self.layer)
        with _linear(layer):
            made = call(inputs, *args, **kwargs)
        norms = lengths(layer.v, axis=0)
        along = ops.matmul(inputs, ops.cast(layer.v / norms, made.dtype))
        scale = ops.cast(layer.g / norms, made.dtype)
        return activation(made + shift), (made, inputs, along, scale)

    def parts(self, found, backward):
        inputs, along, scale = found
        outer = Outer(
            patches(self.layer, inputs), _positions(self.layer, backward)
        )
        along = _positions(self.layer, along[None])
        parts = _of_direction(self, outer, along, scale)
        if self.is_trained(self.layer.bias):
            parts.append(_bias(outer.backward))
        return parts

    @property
    def direction(self):
        return self.layer.v

    @property
    def is_whole(self):
        return False


class Normalized(Rule):
    """`WeightNormalization` around a dense layer or a convolution."""

    is_linear = True

    def known(self):
        return [self.direction, self.layer.g, self.layer.layer.bias]

    def call(self, call, shift, inputs, *args, **kwargs):
        wrapper, layer = self.layer, self.layer.layer
        activation = _activation(layer)
        with _linear(layer):
            made = call(inputs, *args, **kwargs)
            scale = _norms(wrapper)
            # The same with a length of 1, and without a bias.
            values = [(v, v.value) for v in layer.variables]
            v = ops.cast(layer.kernel, wrapper.g.dtype)
            values.append((layer.kernel, v / scale))
            if layer.bias is not None:
                zeros = ops.zeros(layer.bias.shape, layer.bias.dtype)
                values.append((layer.bias, zeros))
            with keras.StatelessScope(values):
                along = layer(inputs, *args, **kwargs)
        scale = ops.cast(wrapper.g / scale, made.dtype)
        return activation(made + shift), (made, inputs, along, scale)

    def parts(self, found, backward):
        inputs, along, scale = found
        layer = self.layer.layer
        outer = _outer(layer, inputs, backward)
        parts = _of_direction(
            self, outer, _positions(layer, along[None]), scale
        )
        if self.is_trained(layer.bias):
            parts.append(_bias(outer.backward))
        return parts

    def positions(self, backward):
        return _positions(self.layer.layer, backward)

    @property
    def direction(self):
        return self.layer.layer.kernel

    @property
    def is_whole(self):
        return self.layer.per == "kernel"


class Affine(Rule):
    """A normalisation in inference mode, with a scale and an offset."""

    def known(self):
        return [self.layer.gamma, self.layer.beta]

    def call(self, call, shift, inputs, *args, **kwargs):
        layer = self.layer
        made = call(inputs, *args, **kwargs)
        values = [(v, v.value) for v in layer.variables]
        for weight, neutral in ((layer.gamma, 1.0), (layer.beta, 0.0)):
            if weight is not None:
                values.append((weight, ops.full(weight.shape, neutral)))
        with keras.StatelessScope(values):
            normal = call(inputs, *args, **kwargs)
        return made + shift, (made, normal)

    def parts(self, found, backward):
        (normal,) = found
        axes = _other_axes(self.layer, len(normal.shape))
        parts = []
        for weight, flow in (
            (self.layer.gamma, backward * normal),
            (self.layer.beta, backward),
        ):
            if weight is not None and self.is_trained(weight):
                parts.append(_flat_rows(ops.sum(flow, axis=axes)))
        return parts


class Factor(Rule):
    """`Rho`: one factor of all outputs."""

    def known(self):
        return [self.layer.value]

    def call(self, call, shift, inputs, *args, **kwargs):
        made = call(inputs, *args, **kwargs)
        return made + shift, (made, inputs)

    def parts(self, found, backward):
        (inputs,) = found
        axes = tuple(range(2, len(backward.shape)))
        return [Rows(ops.sum(backward * inputs, axis=axes)[..., None])]


class Embedding(Rule):
    """Vectors that are looked up."""

    def known(self):
        return [self.layer.embeddings]

    def call(self, call, shift, inputs, *args, **kwargs):
        made = call(inputs, *args, **kwargs)
        return made + shift, (made, inputs)

    def parts(self, found, backward):
        (inputs,) = found
        shape = (backward.shape[1], math.prod(inputs.shape[1:]))
        ids = ops.reshape(inputs, (*shape, 1, 1))
        flow = (backward.shape[0], *shape, 1, backward.shape[-1])
        return [Lookup(ids, ops.reshape(backward, flow))]


def rule_of(layer: keras.Layer) -> Rule | None:
    """The rule of a layer, or `None` where none speaks for all its weights.

    Args:
        layer: A built layer.
    """
    for kinds, rule in _RULES:
        if isinstance(layer, kinds):
            try:
                found = rule(layer)
                known = found.known()
            except AttributeError:
                return None
            if all(any(w is one for one in known) for w in found.weights):
                return found
    return None


_RULES: tuple = (
    (_LINEAR, Linear),
    (WeightNormDense, NormalizedDense),
    (WeightNormalization, Normalized),
    (_AFFINE, Affine),
    (Rho, Factor),
    (keras.layers.Embedding, Embedding),
)


def _activation(layer):
    return getattr(layer, "activation", None) or keras.activations.linear


def _linear(layer):
    if "activation" not in vars(layer):
        return contextlib.nullcontext()  # such as a fixed head
    return replaced(layer, "activation", keras.activations.linear)


def _outer(layer, inputs, backward):
    return Outer(patches(layer, inputs), _positions(layer, backward))


def _positions(layer, tensor):
    """What a layer gives, `(C, N, ...)`, as `(C, N, T, G, O)`."""
    if getattr(layer, "data_format", None) == "channels_first":
        tensor = ops.moveaxis(tensor, 2, -1)
    outputs, examples, *spatial, channels = tensor.shape
    groups = groups_of(layer, channels)
    return ops.reshape(
        tensor,
        (outputs, examples, math.prod(spatial), groups, channels // groups),
    )


def _bias(backward):
    return _flat_rows(ops.sum(backward, axis=2))


def _flat_rows(tensor):
    outputs, examples, *shape = tensor.shape
    return Rows(ops.reshape(tensor, (outputs, examples, math.prod(shape))))


def _of_direction(rule, outer, along, scale):
    """Of `g v / ||v||`: of a gradient `q` with respect to it, `v` gets what
    is across `v`, `g / ||v||` times, and `g` what is along it."""
    is_length_trained = rule.is_trained(rule.layer.g)
    *_, groups, units = along.shape
    scale = ops.reshape(scale, (-1,))
    axes = (2, 3, 4) if rule.is_whole else (2,)
    rows = ops.sum(outer.backward * along, axis=axes)
    rows = ops.reshape(rows, (*outer.backward.shape[:2], -1))
    weights = ops.zeros_like(scale)
    parts = []
    if rule.is_trained(rule.direction):
        scaled = scale
        if not rule.is_whole:
            scaled = ops.reshape(scale, (groups, units))
        parts.append(Outer(outer.inputs, outer.backward * scaled).compact())
        weights = weights - scale**2
    if is_length_trained:
        weights = weights + 1
    return [*parts, Rows(rows, weights)]


def _norms(wrapper):
    v = ops.cast(wrapper.layer.kernel, wrapper.g.dtype)
    axes = tuple(i for i, n in enumerate(wrapper.g.shape) if n == 1)
    return lengths(v, axis=axes, keepdims=True)


def _other_axes(layer, rank):
    """The axes of `(C, N, ...)` that no weight of a normalisation has."""
    axis = layer.axis
    axes = [axis] if isinstance(axis, int) else list(axis)
    own = {a % rank for a in axes}
    return tuple(a + 1 for a in range(1, rank) if a not in own)
