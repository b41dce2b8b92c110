"""Arguments that were positional once."""

import functools
import inspect
import warnings
from collections.abc import Callable


def formerly_positional(*names: str) -> Callable:
    """Lets a constructor take what is by keyword now by position, and warns.

    Args:
        *names: Strings, these arguments in their former order, which began
            after the positional ones of today.
    """

    def decorate(construct):
        parameters = inspect.signature(construct).parameters.values()
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        count = sum(parameter.kind is kind for parameter in parameters)

        @functools.wraps(construct)
        def constructed(*args, **kwargs):
            late = args[count:]
            if late and len(late) <= len(names):
                given = dict(zip(names, late, strict=False))
                warnings.warn(
                    f"{type(args[0]).__name__} takes {', '.join(given)} by "
                    "keyword; by position they will be refused.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                return construct(*args[:count], **given, **kwargs)
            return construct(*args, **kwargs)

        return constructed

    return decorate
