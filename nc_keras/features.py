import operator
from typing import Any

import keras
import numpy as np
from keras import ops


class FeatureExtractor:
    """Finds the head of a model, and the features that reach it.

    The features are the inputs of the head: the layer that makes the outputs
    of a `Functional` or `Sequential` model, looked for inside nested models
    too, with layers without weights (such as a softmax) allowed after it.
    For any other model, say which layer it is.

    The compiled function that computes the features is built once, and used
    for every call.

    Args:
        model: A built `keras.Model`.
        head: Layer of the model, or its name, or `None` to find it. It needs
            a `kernel` of shape `(D, C)`, and a `bias` of shape `(C,)` if it
            has one.

    Raises:
        ValueError: If the model is not built, or no head can be found.

    Example:

    >>> model = nc_keras.models.MLP((28, 28, 1), 10, widths=(64, 32))
    >>> extractor = nc_keras.FeatureExtractor(model)
    >>> extractor.head.name
    'head'
    >>> features, labels = extractor(np.zeros((5, 28, 28, 1)), np.arange(5))
    >>> features.shape
    (5, 32)
    """

    def __init__(self, model: keras.Model, head: Any = None):
        if not model.built:
            raise ValueError(
                "The model has no weights yet. Call it on a batch, or "
                "`model.build(input_shape)`, first. "
                f"Received: model {model.name!r}, which is not built."
            )
        self.model = model
        self.head = _resolve_head(model, head)
        self._head_input = _HeadInput(model, self.head)

    @property
    def kernel(self) -> np.ndarray:
        """The head's weights, shape `(D, C)`."""
        return ops.convert_to_numpy(self.head.kernel)

    @property
    def bias(self) -> np.ndarray | None:
        """The head's bias, shape `(C,)`, or `None`."""
        bias = getattr(self.head, "bias", None)
        return None if bias is None else ops.convert_to_numpy(bias)

    def __call__(
        self, x: Any, y: Any = None, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes features in one forward pass in inference mode.

        Args:
            x: Array (or structure of arrays) of examples; or, when `y` is
                `None`, a `tf.data.Dataset`, `keras.utils.PyDataset`, torch
                `DataLoader` or other finite iterable of `(x, y)` batches.
            y: Integer or one-hot labels.
            batch_size: Integer, for arrays. The last partial batch counts.

        Returns:
            The features, shape `(N, D)`, and the labels, in the same order.

        Raises:
            ValueError: If there are no data, or of unequal lengths, or if the
                head's input is not of shape `(batch_size, D)`.
        """
        batches = _batches(x) if y is None else _slices(x, y, batch_size)
        features, labels = [], []
        for inputs, targets in batches:
            features.append(self._head_input.predict_on_batch(inputs))
            labels.append(_to_numpy(targets))
        if not features:
            raise ValueError("Received: an empty dataset.")
        features, labels = np.concatenate(features), np.concatenate(labels)
        if features.ndim != 2:
            raise ValueError(
                "The head's input must have the shape (batch_size, D). "
                f"Received: features of shape {features.shape} at layer "
                f"{self.head.name!r}."
            )
        return features, labels


class _HeadInput(keras.Model):
    """Runs a model, and returns what its head was called with."""

    def __init__(self, model, head):
        super().__init__(name=f"{model.name}_features")
        self.model = model
        self.head = head
        self.built = True

    def call(self, inputs):
        inputs_of_head = []
        call, own = self.head.call, vars(self.head).get("call")

        def record(x, *args, **kwargs):
            inputs_of_head.append(x)
            return call(x, *args, **kwargs)

        # Works for nested and subclassed models, whose graph is not known.
        self.head.call = record
        try:
            self.model(inputs, training=False)
        finally:
            del self.head.call
            if own is not None:
                self.head.call = own
        if not inputs_of_head:
            raise ValueError(
                f"The model does not call its layer {self.head.name!r}. "
                "Pass the layer that computes the outputs as `head`."
            )
        return inputs_of_head[-1]


def _resolve_head(model, head):
    if head is None:
        return _find_head(model)
    layers = list(_all_layers(model))
    if isinstance(head, str):
        named = [layer for layer in layers if layer.name == head]
        if not named:
            raise ValueError(
                f"`head` must name a layer of model {model.name!r}: "
                f"{[layer.name for layer in layers]}. Received: head={head!r}."
            )
        if len(named) > 1:
            raise ValueError(
                f"Model {model.name!r} has {len(named)} layers of that name. "
                f"Pass the layer itself. Received: head={head!r}."
            )
        head = named[0]
    elif not any(layer is head for layer in layers):
        raise ValueError(
            f"`head` must be a layer of model {model.name!r}, or its name. "
            f"Received: head={head!r}."
        )
    if not _is_head(head):
        raise ValueError(
            "`head` must have a `kernel` of shape (D, C). "
            f"Received: layer {head.name!r} of type {type(head).__name__}."
        )
    return head


def _find_head(model):
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"The head of model {model.name!r} cannot be found: it is a "
            "subclassed model, whose layers have no known order. Pass its "
            "classifier layer, `head=model.my_layer`, or the layer's name. "
            f"Its layers: {[layer.name for layer in model.layers]}."
        )
    if len(model.outputs) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(model.outputs)} outputs: "
            f"{model.output_names}. Pass the layer that makes the one to "
            "measure, or its name, as `head`."
        )
    tensor = model.outputs[0]
    while True:
        layer, node, _ = tensor._keras_history
        weights = getattr(layer, "weights", [])
        if isinstance(layer, keras.Model) and weights:
            return _find_head(layer)
        if _is_head(layer):
            return layer
        inputs = layer._inbound_nodes[node].input_tensors
        if weights or len(inputs) != 1:
            raise ValueError(
                f"The head of model {model.name!r} cannot be found: before "
                f"its outputs comes {layer.name!r} of type "
                f"{type(layer).__name__}, which has no kernel of shape "
                "(D, C). Pass the classifier layer or its name as `head`."
            )
        tensor = inputs[0]


def _is_head(layer):
    kernel = getattr(layer, "kernel", None)
    return kernel is not None and len(kernel.shape) == 2


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _slices(x, y, batch_size):
    """Yields batches of arrays, in order."""
    y = validate_lengths(x, y)
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: batch_size={batch_size}."
        )
    for start in range(0, len(y), batch_size):
        rows = slice(start, start + batch_size)
        inputs = keras.tree.map_structure(operator.itemgetter(rows), x)
        yield inputs, y[rows]


def validate_lengths(x: Any, y: Any) -> np.ndarray:
    """Returns labels as a NumPy array, if there is one for each example."""
    y = _to_numpy(y)
    for array in keras.tree.flatten(x):
        if len(array) != len(y) or not len(y):
            raise ValueError(
                "Examples and labels must be of equal length, and there must "
                f"be some. Received: {len(array)} examples and {len(y)} labels."
            )
    return y


def _batches(dataset):
    """Yields the batches of a dataset, in order."""
    batches = dataset
    if isinstance(dataset, keras.utils.PyDataset):
        if dataset.num_batches is None:
            raise ValueError(
                "A dataset to measure must have an end. Received: a "
                "PyDataset with num_batches=None."
            )
        batches = map(dataset.__getitem__, range(dataset.num_batches))
    elif not hasattr(dataset, "__iter__") or hasattr(dataset, "shape"):
        raise ValueError(
            "Without `y`, `x` must be a dataset of (x, y) batches. "
            f"Received: x of type {type(dataset).__name__} and y=None."
        )
    for batch in batches:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if y is None:
            raise ValueError(
                "The dataset must yield (x, y) batches. Received: a batch "
                "without labels."
            )
        # A tf.data or torch tensor is foreign to the other backends.
        yield keras.tree.map_structure(_to_native, x), y


def _to_native(array):
    return array if ops.is_tensor(array) else np.asarray(array)


def _to_numpy(array):
    return (
        ops.convert_to_numpy(array)
        if ops.is_tensor(array)
        else np.asarray(array)
    )
