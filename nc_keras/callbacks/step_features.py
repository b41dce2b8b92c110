"""Features and labels of each step of Keras, on the device, as it is made."""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from nc_keras.measuring.heads import loss_of_output
from nc_keras.recording import around
from nc_keras.recording import recording
from nc_keras.recording import the_one


@contextlib.contextmanager
def step_features(
    model: keras.Model,
    head: keras.Layer,
    function: Callable[[Any, Any, Any], None],
    name: str,
    training: bool = True,
) -> Iterator[list[ValueError]]:
    """Lets each step hand features and labels to a function.

    It becomes a part of the compiled step. What it assigns to variables of
    the model, or of its metrics, lasts.

    Args:
        model: The compiled model.
        head: The layer whose inputs are the features.
        function: Called with labels, features (without a gradient) and
            sample weights, or `None`. Examples whose label is the
            `ignore_class` of the loss have the weight zero.
        name: String, what asks for them, for errors.
        training: Boolean; `False` for the steps of an evaluation.

    Returns:
        A context manager, of a list. What the steps of an evaluation refuse
        is put there, to be raised when it is over: on JAX an error within a
        step of Keras leaves the model without its weights.
    """
    refused: list[ValueError] = []
    kind = "train" if training else "test"

    def step(call, *args, **kwargs):
        return call(*args, **kwargs)

    def watch(call, *args, **kwargs):
        features.clear()  # those of a measurement, say
        outputs = call(*args, **kwargs)
        the_one(features, head.name)
        return outputs

    def update(
        compute_loss, x=None, y=None, y_pred=None, sample_weight=None, **kwargs
    ):
        if kwargs.get("training", True) == training:
            try:
                weights = _counted(model, head, y, sample_weight, name)
                function(y, ops.stop_gradient(features[0]), weights)
            except ValueError as error:
                if training:
                    raise
                refused.append(error)
        features.clear()
        return compute_loss(x, y, y_pred, sample_weight, **kwargs)

    with (
        recording(head) as features,
        around(model, "call", watch),
        around(model, "compute_loss", update),
        # Another function: of a method JAX has kept what it compiled before.
        around(model, f"{kind}_step", step),
    ):
        # A function compiled before knows nothing of this.
        setattr(model, f"{kind}_function", None)
        try:
            yield refused
        finally:
            setattr(model, f"{kind}_function", None)


def _counted(model, head, labels, weights, name):
    """The weights of the examples, zero where the loss ignores a label."""
    if isinstance(labels, dict | list | tuple):
        raise ValueError(
            f"`{name}` measures models with one output and its labels; for one "
            "output of several use `NeuralCollapse`. Received: labels in a "
            f"{type(labels).__name__} of {len(labels)}."
        )
    loss = loss_of_output(model, head.name)
    ignored = getattr(loss, "ignore_class", None)
    if ignored is None:
        return weights
    labels = ops.convert_to_tensor(labels)
    counted = labels != ops.cast(ignored, labels.dtype)
    if weights is None:
        return counted
    weights = ops.convert_to_tensor(weights)
    counted = ops.reshape(counted, ops.shape(weights))
    return ops.cast(counted, weights.dtype) * weights
