"""A model as a function of its trained weights, up to its logits."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.errors import NonFiniteError
from nc_keras.kernel.backends import current
from nc_keras.kernel.examples import batches
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.logits import until_logits
from nc_keras.kernel.parts import Rows
from nc_keras.kernel.units import Unit
from nc_keras.kernel.units import recording
from nc_keras.kernel.units import units_of
from nc_keras.kernel.units import unshared
from nc_keras.stateless import call_at
from nc_keras.stateless import current_values

# What is rounded differs by less, and what is another function by more.
_TOLERANCE = 1e-3


class UntrainedError(ValueError):
    """A model without trained weights has no tangent kernel."""


class Network:
    """A model whose logits can be derived by its trained weights.

    Pass it in place of the model to the functions of `nc_keras.kernel`: it is
    compiled once, and sees the weights of the moment at each call.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> network = nc_keras.kernel.Network(model, x)
    >>> before = nc_keras.kernel.gram(network, x).values
    >>> model.set_weights([2 * w for w in model.get_weights()])
    >>> bool(np.any(nc_keras.kernel.gram(network, x).values > before))
    True

    Args:
        model: A built model with one output, which is a vector.
        examples: Array (or structure of arrays) of two examples or more, to
            see what the layers make of them, and whether what is known of a
            layer is true of it.
        batch_size: Integer, the examples of one pass: it is compiled for as
            many.
        use_rules: Boolean, whether what is known of layers is used.

    Attributes:
        model: The model.
        units: List of `Unit`.
        num_outputs: Integer, `C`.
        batch_size: Integer, the examples of every batch.
        dtype: String, in which the logits are computed.

    Raises:
        ValueError: If nothing is trained, or the outputs are no vectors.
    """

    def __init__(
        self,
        model: keras.Model,
        examples: Any,
        batch_size: int = 64,
        use_rules: bool = True,
    ):
        _require_model(model)
        if batch_size < 1:
            raise ValueError(
                f"`batch_size` must be positive. Received: {batch_size=}."
            )
        examples = examples_of(examples)
        self.model = model
        self._variables = list(model.variables)
        self._trained = {id(w) for w in model.trainable_variables}
        self._backend = current()
        self.units = list(units_of(model, use_rules))
        if not self.units:
            raise UntrainedError(
                "A tangent kernel is of the gradients of trained weights. "
                f"Received: model {model.name!r}, which has none: each of its "
                "layers is frozen."
            )
        self.dtype = keras.backend.floatx()
        # Two at least, see `jacobians` of the backend TensorFlow.
        count = len(keras.tree.flatten(examples)[0])
        self.batch_size = max(2, min(batch_size, count))
        (batch, _), *_ = batches(examples, self.batch_size)
        self.num_outputs = self._probe(batch)
        self._compile()
        self._refuse_false_rules(batch)

    def read(self) -> list[Any]:
        """The values of all variables now, for the methods below."""
        return current_values(self.model, self._variables)

    def is_stale(self, model: keras.Model) -> bool:
        """Whether it is of another model, or of other weights that train."""
        now = [id(w) for w in model.trainable_variables]
        return model is not self.model or set(now) != self._trained

    def parts(self, values: list, x: Any, mixed: Any = None) -> list[list]:
        """The gradients of each unit's weights, as parts of the kernel.

        Args:
            values: From `read`.
            x: Tensor or structure of tensors, the inputs of a batch.
            mixed: Tensor of shape `(C, M)`: the gradients are those of `M`
                sums of the outputs, with these weights. By default those of
                each output.
        """
        if mixed is None:
            mixed = ops.eye(self.num_outputs, dtype=self.dtype)
        found: list[list] = [[] for _ in self.units]
        ruled = [u for u in self.units if u.rule is not None]
        if ruled:
            of_rules = iter(self._parts(values, x, mixed))
            for unit, parts in zip(self.units, found, strict=True):
                if unit.rule is not None:
                    kinds = unit.kinds[mixed.shape[1]]
                    parts += map(_part, kinds, next(of_rules))
        if len(ruled) < len(self.units):
            of_weights = iter(self._jacobians(values, x, mixed))
            for unit, parts in zip(self.units, found, strict=True):
                if unit.rule is None:
                    parts.append(Rows(next(of_weights)))
        return found

    def outputs(self, values: list, x: Any) -> np.ndarray:
        """The logits of a batch, `(N, C)`."""
        return ops.convert_to_numpy(self._outputs(values, x))

    def second_moments(self, values: list, x: Any, weights: Any) -> list:
        """Sums over examples of what flows back to linear layers, squared.

        Args:
            values: From `read`.
            x: Tensor or structure of tensors, the inputs of a batch.
            weights: Tensor of shape `(N,)`, how often each example counts.

        Returns:
            Of each unit of `linear_units`, a tensor of shape `(G, O, O)`.
        """
        return self._moments(values, x, weights)

    @property
    def linear_units(self) -> list[Unit]:
        """The units that are dense layers or convolutions."""
        return [
            u for u in self.units if u.rule is not None and u.rule.is_linear
        ]

    def pull(self, values: list, x: Any, cotangent: Any) -> list:
        """The gradients of `sum(cotangent * logits)`, one per weight."""
        return self._pull(values, x, cotangent)

    def push(self, values: list, x: Any, tangents: list) -> Any:
        """How the logits change with the weights, to first order."""
        return self._push(values, x, tangents)

    @property
    def weights(self) -> list:
        """The trained weights, in the order of `pull` and `push`."""
        return [weight for unit in self.units for weight in unit.weights]

    def _call(self, values, x):
        with until_logits(self.model):
            return call_at(self.model, self._variables, values, x)

    def _call_at(self, weights, changed, values, x):
        """The logits where some weights have other values."""
        changed = {id(w): new for w, new in zip(weights, changed, strict=True)}
        values = [
            changed.get(id(variable), value)
            for variable, value in zip(self._variables, values, strict=True)
        ]
        return self._call(values, x), ()

    def _probe(self, x):
        """Sees what the layers make of a batch; returns `C`."""

        def called(values, x):
            with recording(self.units) as found:
                outputs = self._call(values, x)
            return outputs, [[made for made, *_ in one] for one in found]

        try:
            outputs, made = self._backend.compiled(called)(self.read(), x)
        except Exception:
            # What a layer computes in a loop of its own cannot come out.
            for unit in self.units:
                unit.rule = None
            outputs = self._backend.compiled(self._call)(self.read(), x)
            made = [[] for _ in self.units]
        num_outputs = _validated(self.model, outputs, self.batch_size)
        self.dtype = keras.backend.standardize_dtype(outputs.dtype)
        for unit, one in zip(self.units, made, strict=True):
            shape = tuple(one[0].shape) if len(one) == 1 else ()
            if shape[:1] != (self.batch_size,):
                unit.rule = None
            unit.shape = shape[1:]
        self.units = unshared(self.units)
        return num_outputs

    def _compile(self):
        compiled = self._backend.compiled
        self._outputs = compiled(self._call)
        self._parts = compiled(self._of_rules)
        self._jacobians = compiled(self._of_weights)
        self._moments = compiled(self._squared_flows)
        self._pull = compiled(self._pulled)
        self._push = compiled(self._pushed)

    def _of_rules(self, values, x, mixed):
        """What the parts of all units with a rule are made of."""
        tensors = []
        for unit, record, flow in self._flows(values, x, mixed):
            parts = unit.rule.parts(record, flow)
            unit.kinds[mixed.shape[1]] = [type(part) for part in parts]
            tensors.append([_tensors(part) for part in parts])
        return tensors

    def _flows(self, values, x, mixed):
        """Of each unit with a rule, its record, and what flows back to it."""
        ruled = [i for i, u in enumerate(self.units) if u.rule is not None]
        count = keras.tree.flatten(x)[0].shape[0]

        def network(shifts):
            at = dict(zip(ruled, shifts, strict=True))
            with recording(self.units, at) as records:
                outputs = self._call(values, x)
            return outputs, [records[i][0][1:] for i in ruled]

        shape = (mixed.shape[1], count, self.num_outputs)
        _, flows, found = self._backend.pulled_back(
            network,
            [
                ops.zeros((count, *self.units[i].shape), self.dtype)
                for i in ruled
            ],
            ops.broadcast_to(ops.transpose(mixed)[:, None], shape),
        )
        return [
            (self.units[index], record, flow)
            for index, record, flow in zip(ruled, found, flows, strict=True)
        ]

    def _squared_flows(self, values, x, weights):
        identity = ops.eye(self.num_outputs, dtype=self.dtype)
        return [
            ops.einsum("cntgo,cntgp,n->gop", flow, flow, weights)
            for flow in (
                unit.rule.positions(flow)
                for unit, _, flow in self._flows(values, x, identity)
                if unit.rule.is_linear
            )
        ]

    def _of_weights(self, values, x, mixed):
        """Jacobians of each unit without a rule, `(M, N, P)`."""
        others = [unit for unit in self.units if unit.rule is None]
        weights = [weight for unit in others for weight in unit.weights]
        positions = self._positions(weights)

        def mixtures(changed, rows):
            outputs, beside = self._call_at(weights, changed, values, rows)
            return ops.matmul(outputs, mixed), beside

        found = self._backend.jacobians(
            mixtures, [values[i] for i in positions], x
        )
        count = keras.tree.flatten(x)[0].shape[0]
        rows = iter(
            ops.reshape(one, (count, mixed.shape[1], -1)) for one in found
        )
        return [
            ops.transpose(
                ops.concatenate([next(rows) for _ in unit.weights], axis=-1),
                (1, 0, 2),
            )
            for unit in others
        ]

    def _pulled(self, values, x, cotangent):
        weights = self.weights
        return self._backend.gradients(
            lambda changed: self._call_at(weights, changed, values, x),
            [values[i] for i in self._positions(weights)],
            cotangent,
        )

    def _pushed(self, values, x, tangents):
        weights = self.weights
        return self._backend.pushed_forward(
            lambda changed: self._call_at(weights, changed, values, x),
            [values[i] for i in self._positions(weights)],
            tangents,
        )

    def _positions(self, weights):
        places = {id(v): i for i, v in enumerate(self._variables)}
        return [places[id(weight)] for weight in weights]

    def _refuse_false_rules(self, x):
        """Takes the rule from layers that do not do as it says.

        One that overrides `call`, or whose weights the model uses in another
        place, has other gradients: those of a sum of the outputs of two
        examples are compared.
        """
        for unit in self.units:
            sizes = [math.prod(weight.shape) for weight in unit.weights]
            unit.sizes = (0, sum(sizes))
        if all(unit.rule is None for unit in self.units):
            return
        values = self.read()
        rng = np.random.default_rng(0)
        mixed = rng.normal(size=(self.num_outputs, 1))
        examples = np.zeros(self.batch_size)
        examples[:2] = rng.normal(size=2)
        cotangent = ops.convert_to_tensor(
            examples[:, None] * mixed.T, self.dtype
        )
        gradients = iter(self.pull(values, x, cotangent))
        exact = [
            sum(
                np.sum(ops.convert_to_numpy(next(gradients)).astype(float) ** 2)
                for _ in unit.weights
            )
            for unit in self.units
        ]
        is_false = False
        found = self.parts(values, x, ops.convert_to_tensor(mixed, self.dtype))
        for unit, parts, square in zip(self.units, found, exact, strict=True):
            if unit.rule is None:
                continue
            sizes = np.sum([part.sizes() for part in parts], axis=0)
            parts = [part.some(0, 2) for part in parts]
            kernel = sum(part.times(part, "trace", 2**20) for part in parts)
            of_rule = examples[:2] @ kernel @ examples[:2]
            if not abs(of_rule - square) <= _TOLERANCE * max(square, of_rule):
                unit.rule = None
                is_false = True
            else:
                unit.sizes = tuple(map(int, sizes))
        if is_false:
            self._compile()


def network_of(model: Any, x: Any, batch_size: int) -> Network:
    """The network of a model, or the one that stands for it.

    Args:
        model: A built model, or a `Network`.
        x: As `examples_of` returns it.
        batch_size: Integer, of a network that is made.

    Raises:
        ValueError: If the weights that train are no longer those of the
            network.
    """
    if not isinstance(model, Network):
        return Network(model, x, batch_size)
    if model.is_stale(model.model):
        raise ValueError(
            "Other weights are trained than when the network was made: make "
            f"it again. Received: a network of model {model.model.name!r}."
        )
    return model


@checked(model="model")
def _require_model(model):
    """Raises unless it is a built model."""


def _validated(model, outputs, count):
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != count:
        found = keras.tree.map_structure(lambda one: tuple(one.shape), outputs)
        raise ValueError(
            "The model must return one vector per example, of shape (N, C). "
            f"Received: model {model.name!r}, whose outputs for {count} "
            f"examples have the shape {found}."
        )
    values = ops.convert_to_numpy(ops.stop_gradient(outputs))
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"The outputs of model {model.name!r} are NaN or infinite for "
            "some examples, so that they have no gradients."
        )
    sums = values.sum(axis=1)
    if shape[1] > 1 and (values >= 0).all() and np.allclose(sums, 1, atol=1e-5):
        raise ValueError(
            "The tangent kernel is that of the logits, before a softmax. "
            f"Received: model {model.name!r}, whose outputs are "
            "probabilities, by what is not known: pass a model that ends "
            "before them."
        )
    return int(shape[1])


def _tensors(part):
    if isinstance(part, Rows):
        return (part.rows, *(() if part.weights is None else (part.weights,)))
    return part.inputs, part.backward


def _part(kind, tensors):
    return kind(*tensors)
