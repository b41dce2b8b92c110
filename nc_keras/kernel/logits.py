"""What a model computes before it makes probabilities of it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from nc_keras.graph import back_from
from nc_keras.graph import is_graph
from nc_keras.recording import around
from nc_keras.recording import replaced

_PROBABILITIES = (
    keras.activations.softmax,
    keras.activations.log_softmax,
    keras.activations.sigmoid,
    keras.activations.log_sigmoid,
)
# Operations of `keras.ops` that do the same.
_NAMES = ("Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid")


@contextlib.contextmanager
def until_logits(model: keras.Model) -> Iterator[None]:
    """Lets a model end before the softmax or sigmoid at its end.

    Args:
        model: A built model; of a subclassed one the end is not known.

    Example:

    >>> from nc_keras.kernel.logits import until_logits
    >>> dense = keras.layers.Dense(2, "softmax", kernel_initializer="ones")
    >>> model = keras.Sequential([keras.Input((3,)), dense])
    >>> with until_logits(model):
    ...     print(keras.ops.convert_to_numpy(model(np.ones((1, 3)))))
    [[3. 3.]]
    """
    with contextlib.ExitStack() as stack:
        for step in _last_steps(model):
            if _is_function(step):
                stack.enter_context(around(step, "call", _unchanged))
            else:
                linear = keras.activations.linear
                stack.enter_context(replaced(step, "activation", linear))
        yield


def _last_steps(model):
    """The layers and operations at the end that make probabilities."""
    if not is_graph(model) or len(model.outputs) != 1:
        return
    for step in back_from(model.outputs[0]):
        if isinstance(step, keras.Model):
            yield from _last_steps(step)
            return
        if _is_function(step):
            yield step
        elif getattr(step, "activation", None) in _PROBABILITIES:
            yield step
        if getattr(step, "weights", None):
            return


def _is_function(step: Any) -> bool:
    is_activation = isinstance(step, keras.layers.Activation)
    return (
        isinstance(step, keras.layers.Softmax)
        or (is_activation and step.activation in _PROBABILITIES)
        or type(step).__name__ in _NAMES
    )


def _unchanged(call, inputs, *args, **kwargs):
    return inputs
