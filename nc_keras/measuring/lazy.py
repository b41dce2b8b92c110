"""A property that is computed once, in whichever thread asks first."""

from collections.abc import Callable
from typing import Any
from typing import Generic
from typing import TypeVar

Value = TypeVar("Value")


class lazy(Generic[Value]):  # noqa: N801, a decorator
    """`functools.cached_property` without a lock.

    Before Python 3.12 that holds one lock for all objects of a class while it
    computes, and tiles in several threads wait for each other.
    """

    def __init__(self, function: Callable[[Any], Value]):
        self._function = function
        self._name = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = self._function(instance)
        instance.__dict__[self._name] = value
        return value
