"""One compiled forward pass that returns the features of several layers."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable

import keras
from keras import ops

from nc_keras.graph import all_layers
from nc_keras.graph import bare
from nc_keras.graph import forget_losses
from nc_keras.graph import resolve_layer
from nc_keras.keras_private import unscale_loss_for_distribution
from nc_keras.measuring.devices import Mirrored
from nc_keras.measuring.devices import shared
from nc_keras.measuring.loss import refuse_several
from nc_keras.recording import recording
from nc_keras.recording import the_one


@dataclasses.dataclass(frozen=True)
class Source:
    """Where features come from: a layer's input or output, or a function."""

    name: str
    layer: keras.Layer | None = None
    is_output: bool = False
    function: Callable | None = None

    def vectors(self, tensor, pooling):
        """Returns the features, channels last, of a dtype NumPy knows."""
        if not hasattr(tensor, "shape") or len(tensor.shape) < 2:
            raise ValueError(
                "Features must be a tensor of shape (batch_size, ..., D). "
                f"Received: {tensor!r} at {self.name!r}. Pass another layer, "
                "or a function that returns the tensor, as `features`."
            )
        if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
            tensor = ops.cast(tensor, "float32")
        rank = len(tensor.shape)
        if rank > 2 and self._is_channels_first(rank):
            tensor = ops.moveaxis(tensor, 1, -1)
        if rank > 2 and pooling == "average":
            return ops.mean(tensor, axis=tuple(range(1, rank - 1)))
        if rank > 2 and pooling == "flatten":
            return ops.reshape(tensor, (ops.shape(tensor)[0], -1))
        return tensor

    def _is_channels_first(self, rank):
        data_format = getattr(bare(self.layer), "data_format", None)
        # Layers such as an activation follow the images of the model.
        if data_format is None and self.is_output and rank > 3:
            data_format = keras.config.image_data_format()
        return data_format == "channels_first"


class Forward:
    """One forward pass that returns the features of every source."""

    def __init__(self, model, sources, pooling):
        self.model = model
        self.sources = sources
        self.pooling = pooling
        self._variables = []
        self._compiled = _Compiled(model, self._features)
        self._mirrored = Mirrored.of(model, self._with_state)

    def predict_on_batch(self, inputs, *targets):
        """Returns the features of each source, and what the model loses.

        Args:
            inputs: Those of a batch.
            *targets: Nothing; or labels, and weights, for the loss of the
                batch as a last array.
        """
        batch = (inputs, *targets)
        if self._mirrored and self._mirrored.can_share(batch):
            return self._mirrored(batch)
        # JAX takes the variables as arguments, and the model's own would be
        # lost with the buffers they donate if a step were interrupted.
        if keras.backend.backend() == "jax":
            self._variables = _variables(self.model, self.sources)
        values = [variable.value for variable in self._variables]
        batch = shared(batch, values)
        # Unlike `predict`, this leaves the random state of torch alone.
        return self._compiled.predict_on_batch((batch, values))

    def eagerly(self, inputs):
        """Returns the features of one source, and the model's outputs."""
        with keras.StatelessScope():
            (tensor,), outputs = self._run(inputs)
            (source,) = self.sources
            features = source.vectors(tensor, self.pooling)
        return ops.convert_to_numpy(features), outputs

    def _features(self, batch, values):
        state = zip(self._variables, values, strict=True)
        return self._with_state(batch, list(state))

    def _with_state(self, batch, state):
        inputs, *targets = batch
        if targets and not self._variables:
            # In a scope, penalties of the weights ask it for their values.
            state = [*state, *_penalized(self.model)]
        with keras.StatelessScope(state, collect_losses=True):
            if targets:
                forget_losses(self.model)
            tensors, outputs = self._run(inputs)
            losses = self._losses(inputs, outputs, *targets) if targets else []
        return [
            source.vectors(tensor, self.pooling)
            for source, tensor in zip(self.sources, tensors, strict=True)
        ] + losses

    def _losses(self, inputs, outputs, labels, weights=None):
        if outputs is None:
            raise ValueError(
                "The loss is measured where the model is called. Pass a layer "
                "as `features`, or no `loss`. Received: a function of inputs, "
                f"{self.sources[0].name!r}."
            )
        refuse_several(outputs)
        # Of its class: what watches the model's steps is not to see this.
        compute_loss = type(self.model).compute_loss
        options = {"training": False}
        if "training" not in inspect.signature(compute_loss).parameters:
            options = {}
        loss = compute_loss(
            self.model, inputs, labels, outputs, weights, **options
        )
        # Of each replica it is its part of the sum over all.
        loss = unscale_loss_for_distribution(loss)
        return [ops.reshape(ops.cast(loss, keras.config.floatx()), (1,))]

    def _run(self, inputs):
        model, (first, *_) = self.model, self.sources
        if first.function is not None:
            inputs = keras.tree.map_structure(self._cast, inputs)
            return [first.function(inputs)], None
        with contextlib.ExitStack() as stack:
            records = [
                stack.enter_context(recording(source.layer, source.is_output))
                for source in self.sources
            ]
            outputs = model(inputs, training=False)
        names = [source.name for source in self.sources]
        return list(map(the_one, records, names)), outputs

    def _cast(self, array):
        """Does what the model does to its inputs when it is called."""
        model = self.model
        return model.dtype_policy.convert_input(
            array, model.autocast, model.compute_dtype
        )


class _Compiled(keras.Model):
    """A function that Keras compiles as it compiles a model."""

    def __init__(self, model, function):
        super().__init__(name=f"{model.name}_features", autocast=False)
        # A function, since a model among the attributes would be its state.
        self._function = function
        self.run_eagerly = model.run_eagerly
        self.jit_compile = model.jit_compile
        self.built = True

    def call(self, inputs, training=False):
        return self._function(*inputs)


def _penalized(model):
    """The weights that have a regularizer, with their values."""
    weights = model.trainable_weights
    return [(one, one.value) for one in weights if one.regularizer]


def _variables(model, sources):
    owners = [model]
    for source in sources:
        owners.append(getattr(source.function, "__self__", source.function))
    variables = {}
    for owner in owners:
        if isinstance(owner, keras.Layer):
            variables.update((id(v), v) for v in owner.variables)
    return list(variables.values())


def resolve_sources(model, head, features):
    if features is None:
        return [Source(head.name, head)]
    if isinstance(features, list | tuple):
        if not features:
            raise ValueError("`features` must name layers. Received: [].")
        layers = [resolve_layer(model, x, "features") for x in features]
        return [Source(x.name, x, is_output=True) for x in layers]
    is_inside = any(layer is features for layer in all_layers(model))
    is_model = isinstance(features, keras.Model)
    is_layer = isinstance(features, keras.Layer) and not is_model
    if callable(features) and not is_inside and not is_layer:
        name = getattr(features, "__name__", None) or getattr(
            features, "name", type(features).__name__
        )
        return [Source(name, function=features)]
    layer = resolve_layer(model, features, "features")
    return [Source(layer.name, layer, is_output=True)]
