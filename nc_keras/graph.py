"""The layers of a model, and the order in which it calls them.

The one place that reads what Keras keeps of a graph without promising it.
"""

from __future__ import annotations

import collections
import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

from nc_keras.layers.weight_normalization import WeightNormalization


def resolve_layer(model: keras.Model, layer: Any, argument: str) -> keras.Layer:
    """Returns the layer of a model that an argument means.

    Args:
        model: The model.
        layer: A layer of it, or its name.
        argument: String, what errors call it.
    """
    received = f"Received: {argument}={layer!r}."
    if not isinstance(layer, str):
        if any(other is layer for other in all_layers(model)):
            return layer
        raise ValueError(
            f"`{argument}` must be a layer of model {model.name!r}, or its "
            f"name. {received}"
        )
    named = _named(all_layers(model, of_layers=False), layer)
    named = named or _named(all_layers(model), layer)
    if not named:
        raise ValueError(
            f"`{argument}` must name a layer of model {model.name!r}: "
            f"{[other.name for other in model.layers]}, or one inside of "
            f"these. {received}"
        )
    if len(named) > 1:
        raise ValueError(
            f"Model {model.name!r} has {len(named)} layers of that name. "
            f"Pass the layer itself. {received}"
        )
    return named[0]


def compiled_loss(model: keras.Model) -> Any:
    """What computes the loss of a model: another one after each `compile`.

    It is `None` where no loss was ever named.
    """
    return getattr(model, "_compile_loss", None)


def forget_losses(model: keras.Model) -> None:
    """Lets the layers forget what they added to the loss in other calls.

    Keras does so in the outermost layer that is called. What calls a model
    for a measurement is a layer that does not know it.

    Args:
        model: The model, which is about to be called.
    """
    model._clear_losses()


def is_reversible(layer: keras.Layer) -> bool:
    """Whether a layer embeds, and with `reverse=True` projects back."""
    return (
        getattr(layer, "embeddings", None) is not None
        and "reverse" in inspect.signature(layer.call).parameters
    )


def all_layers(model: keras.Model, of_layers: bool = True) -> list[keras.Layer]:
    """Every layer of a model once, with those of nested models.

    Args:
        model: The model.
        of_layers: Boolean, whether to add the layers that other layers are
            made of.

    Example:

    >>> from nc_keras.graph import all_layers
    >>> inner = keras.Sequential([keras.layers.Dense(2, name="dense")])
    >>> model = keras.Sequential([keras.Input((3,)), inner])
    >>> [layer.name for layer in all_layers(model)][1:]
    ['dense']
    """
    layers, pending = {}, [model]
    while pending:
        parent = pending.pop()
        layers[id(parent)] = parent
        if of_layers or isinstance(parent, keras.Model):
            inner = reversed(children(parent))
            pending.extend(x for x in inner if id(x) not in layers)
    return [layer for layer in layers.values() if layer is not model]


def children(layer: keras.Layer) -> list[keras.Layer]:
    """The layers of a model, or those that another layer is made of.

    Example:

    >>> from nc_keras.graph import children
    >>> wrapper = keras.layers.TimeDistributed(keras.layers.Dense(2))
    >>> children(wrapper)[0] is wrapper.layer
    True
    """
    if isinstance(layer, keras.Model):
        return layer.layers
    return layer._flatten_layers(include_self=False, recursive=False)


def with_all_it_tracks(model: keras.Model) -> list[keras.Layer]:
    """A model and its layers, also those that are in no graph of it.

    Example:

    >>> from nc_keras.graph import with_all_it_tracks
    >>> model = keras.Sequential([keras.layers.Dense(2)])
    >>> with_all_it_tracks(model)[0] is model
    True
    """
    return model._flatten_layers()


def unwrapped(layer: keras.Layer) -> keras.Layer:
    """The layer inside of a `WeightNormalization`, or the layer itself."""
    return layer.layer if isinstance(layer, WeightNormalization) else layer


def bare(layer: keras.Layer) -> keras.Layer:
    """The layer inside of wrappers."""
    wrappers = (keras.layers.TimeDistributed, WeightNormalization)
    while isinstance(layer, wrappers):
        layer = layer.layer
    return layer


def casts(model: keras.Model) -> list[Any]:
    """The casts in the graphs of a model and of those nested in it.

    For a layer of mixed precision, Keras before 3.10 puts one there.

    Example:

    >>> from nc_keras.graph import casts
    >>> x = keras.Input((3,))
    >>> model = keras.Model(x, keras.ops.cast(x, "float16"))
    >>> [cast.dtype for cast in casts(model)]
    ['float16']
    """
    return [
        operation
        for layer in with_all_it_tracks(model)
        for operation in getattr(
            getattr(layer, "_functional", None) or layer, "operations", ()
        )
        if type(operation).__name__ == "Cast"
    ]


@contextlib.contextmanager
def one_more_metric(model: keras.Model, metric: keras.Metric) -> Iterator[None]:
    """Lets a model that is built, and so locked, have another metric.

    Example:

    >>> from nc_keras.graph import one_more_metric
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> with one_more_metric(model, keras.metrics.Mean("more")):
    ...     [metric.name for metric in model.metrics]
    ['more']
    """
    model._metrics.append(metric)
    try:
        yield
    finally:
        model._metrics.remove(metric)


def is_graph(layer: Any) -> bool:
    """Whether it is a model whose order of layers is known.

    Example:

    >>> from nc_keras.graph import is_graph
    >>> model = keras.Sequential([keras.layers.Dense(2)])
    >>> is_graph(model), model.build((None, 3)), is_graph(model)
    (False, None, True)
    """
    is_model = isinstance(layer, keras.Model)
    return is_model and bool(getattr(layer, "inputs", None))


def back_from(tensor: Any) -> Iterator[Any]:
    """Yields what makes a tensor, what makes the only input of that, and on.

    Args:
        tensor: Of the `outputs` of a model that is a graph.

    Returns:
        Iterator over layers and other operations; the last of them is the
        first met that has no input, or several and does not pass the first
        of them on.

    Example:

    >>> from nc_keras.graph import back_from
    >>> layers = [keras.layers.Flatten(name="f"), keras.layers.Dense(2)]
    >>> model = keras.Sequential([keras.Input((3, 3)), *layers])
    >>> [step.name for step in back_from(model.outputs[0])][1:-1]
    ['f']
    """
    tensors = [tensor]
    while len(tensors) == 1:
        operation, index = _key(tensors[0])
        yield operation
        tensors = operation._inbound_nodes[index].input_tensors
        if passes_on(operation):
            tensors = tensors[:1]


def passes_on(operation: Any) -> bool:
    """Whether the class of a layer says that it returns its first input."""
    return getattr(operation, "passes_first_input", False)


def steps(model: keras.Model, end: Any = None) -> Iterator[tuple[Any, bool]]:
    """Yields operations in order, and whether all features pass their output.

    Nested models that all features pass stand for what they are made of.

    Args:
        model: A model that is a graph.
        end: Layer, where the features end; or `None` for the outputs.

    Returns:
        Iterator over operations, and booleans: whether all that reaches the
        end passes the output, which is one tensor with more than one axis.

    Example:

    >>> from nc_keras.graph import steps
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(3, name="branch")(x)
    >>> y = keras.layers.Add(name="sum")([x, y])
    >>> [(step.name, passed) for step, passed in steps(keras.Model(x, y))]
    [('branch', False), ('sum', True)]
    """
    ends = [_key(tensor) for tensor in model.outputs]
    parents = _ordered(ends)
    found = [key for key in parents if key[0] is end]
    if found:
        ends = found[-1:]
        parents = _ordered(ends)
    passed = _passed_by_all(parents, ends)
    for operation, index in parents:
        outputs = operation._inbound_nodes[index].output_tensors
        is_vector = len(outputs) == 1 and len(outputs[0].shape) > 1
        is_passed = (operation, index) in passed
        if isinstance(operation, keras.layers.InputLayer):
            continue
        if is_graph(operation) and is_passed and len(operation.inputs) == 1:
            yield from steps(operation, end)
        else:
            yield operation, is_passed and is_vector


def chain_of(
    model: keras.Model,
) -> Iterator[tuple[keras.Layer, keras.Layer, bool]]:
    """Yields the layers of a network with one output, in their order.

    Args:
        model: A built `Sequential` or `Functional` model.

    Returns:
        Iterator over each layer, the layer that it wraps if it is a
        `WeightNormalization`, and whether it has one input and is called
        once.

    Raises:
        ValueError: If the order of the layers is not known.

    Example:

    >>> from nc_keras.graph import chain_of
    >>> model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8,))
    >>> [layer.name for layer, _, is_chain in chain_of(model)][-1]
    'head'
    """
    if not is_graph(model) or len(model.outputs) != 1:
        raise ValueError(
            "Only of a Sequential or Functional model with one output can be "
            "told whether it is homogeneous. "
            f"Received: model {model.name!r} of type {type(model).__name__}."
        )
    parents = _ordered([_key(model.outputs[0])])
    times = collections.Counter(operation for operation, _ in parents)
    joins = {key[0] for key, inputs in parents.items() if len(inputs) > 1}
    for one in times:
        is_chain = times[one] == 1 and one not in joins
        if isinstance(one, keras.Model) and is_chain:
            yield from chain_of(one)
        else:
            yield one, unwrapped(one), is_chain


def maker_of(tensor: Any) -> Any:
    """Returns the layer or operation that made a symbolic tensor."""
    return _key(tensor)[0]


def _key(tensor):
    """The operation that made a tensor, and at which of its calls."""
    return tensor._keras_history[:2]


def _ordered(ends):
    """The calls up to these, each after its parents, with its parents."""
    parents, order, stack = {}, {}, list(ends)
    while stack:
        key = stack[-1]
        if key in parents:
            order[stack.pop()] = parents[key]
            continue
        operation, index = key
        inputs = operation._inbound_nodes[index].input_tensors
        parents[key] = [_key(tensor) for tensor in inputs]
        stack.extend(parents[key])
    return order


def _passed_by_all(parents, ends):
    """The calls on every path from an input to an end."""
    before, after = {}, collections.Counter(ends)
    for key in parents:
        before[key] = sum(before[parent] for parent in parents[key]) or 1
    total = sum(before[key] for key in ends)
    for key in reversed(parents):
        for parent in parents[key]:
            after[parent] += after[key]
    return {key for key in parents if before[key] * after[key] == total}


def _named(layers, name):
    return [layer for layer in layers if layer.name == name]


def model_until(model: keras.Model, tensor: Any) -> keras.Model:
    """The part of a model that ends at a tensor of its graph.

    Args:
        model: A Functional or Sequential model.
        tensor: A `KerasTensor`, such as the input of its last layer.
    """
    inputs = model.inputs
    # Keras 3.8 would want a list of one.
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], tensor)
