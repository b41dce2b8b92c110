"""What a layer gets or gives, recorded while a model is called."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras

from nc_keras.graph import is_reversible


@contextlib.contextmanager
def recording(
    layer: keras.Layer, of_outputs: bool = False
) -> Iterator[list[Any]]:
    """Records the inputs of a layer, or its outputs, each time it is called.

    This works for nested and subclassed models, whose graph is not known. Of
    an embedding that also projects back, only that counts as its inputs.

    Args:
        layer: The layer.
        of_outputs: Boolean, whether the outputs are recorded.

    Returns:
        Context manager of the list of tensors, one per call.

    Example:

    >>> from nc_keras.recording import recording, the_one
    >>> dense = keras.layers.Dense(2)
    >>> model = keras.Sequential([keras.Input((3,)), dense])
    >>> with recording(dense) as found:
    ...     outputs = model(np.ones((5, 3)))
    >>> the_one(found, dense.name).shape == (5, 3)
    True
    """
    found: list[Any] = []
    is_quantized = getattr(layer, "quantization_mode", None) is not None
    name = "quantized_call" if is_quantized else "call"
    signature = inspect.signature(getattr(layer, name))
    only_reverse = not of_outputs and is_reversible(layer)

    def recorded(call, *args, **kwargs):
        outputs = call(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        if arguments.get("reverse") or not only_reverse:
            first = next(iter(arguments.values()))
            found.append(outputs if of_outputs else first)
        return outputs

    with around(layer, name, recorded):
        yield found


def the_one(found: list[Any], name: str) -> Any:
    """Returns what was recorded in one pass through a model.

    Args:
        found: List of tensors, of `recording`.
        name: String, the name of the layer.

    Raises:
        ValueError: If the layer was not called, or on different tensors.
    """
    if not found:
        raise ValueError(
            f"The model does not call its layer {name!r}. Pass a layer that "
            "it uses: as `head` the one that computes the outputs."
        )
    if any(one is not found[0] for one in found):
        raise ValueError(
            f"The model calls its layer {name!r} more than once, on different "
            "inputs, as a siamese network does: which of them are the "
            "features is not known. Measure a model that calls it once, such "
            "as one branch, or pass a function of the inputs as `features`."
        )
    return found[0]


@contextlib.contextmanager
def around(owner: Any, name: str, function: Callable) -> Iterator[None]:
    """Calls a function in place of a method, which it gets as an argument.

    Several may be around one method, and end in any order.

    Args:
        owner: A layer or model.
        name: String, its method.
        function: Called as `function(method, *args, **kwargs)`.

    Example:

    >>> from nc_keras.recording import around
    >>> layer = keras.layers.Dense(2)
    >>> with around(layer, "count_params", lambda method: 7):
    ...     layer.count_params()
    7
    """
    # Past Keras, which would track what is set on a layer.
    attributes = vars(owner)
    method = getattr(owner, name)

    def call(*args, **kwargs):
        return function(replacement.inner, *args, **kwargs)

    replacement: Any = functools.wraps(method)(call)
    replacement.inner, replacement.own = method, attributes.get(name)
    attributes[name] = replacement
    try:
        yield
    finally:
        _remove(attributes, name, replacement)


@contextlib.contextmanager
def replaced(layer: keras.Layer, name: str, value: Any) -> Iterator[None]:
    """Gives a layer another attribute, past Keras, which tracks them.

    Args:
        layer: The layer.
        name: String, an attribute that it has.
        value: Anything.

    Example:

    >>> from nc_keras.recording import replaced
    >>> layer = keras.layers.Dense(2)
    >>> with replaced(layer, "units", 3):
    ...     layer.units
    3
    """
    attributes = vars(layer)
    before = attributes[name]
    attributes[name] = value
    try:
        yield
    finally:
        attributes[name] = before


def _remove(attributes, name, replacement):
    outer = attributes.get(name)
    if outer is replacement:
        del attributes[name]
        if replacement.own is not None:
            attributes[name] = replacement.own
        return
    # Another one, which began later, goes on around what this was around.
    while outer is not None and getattr(outer, "own", None) is not replacement:
        outer = getattr(outer, "own", None)
    if outer is not None:
        outer.inner, outer.own = replacement.inner, replacement.own
