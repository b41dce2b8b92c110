"""Functions that have the name of their module, and hide it."""

import sys
from collections.abc import Callable


def stand_for_module(*functions: Callable) -> None:
    """Gives functions the public names of the modules that they hide.

    `nc_keras.layerwise` is the function; with the names of its module,
    `nc_keras.layerwise.stages` is what it says, however it was imported.

    Args:
        *functions: Functions, each of the name of its module.

    Example:

    >>> nc_keras.layerwise.stages.__name__, nc_keras.report.Report.__name__
    ('stages', 'Report')
    >>> nc_keras.layerwise.alignment.__module__  # What the module re-exports.
    'nc_keras.metrics.alignment'
    """
    for function in functions:
        module = function.__module__
        exported = getattr(sys.modules[module], "__all__", ())
        for name, value in vars(sys.modules[module]).items():
            is_own = getattr(value, "__module__", None) == module
            is_public = is_own or name in exported or name.isupper()
            if is_public and not name.startswith("_"):
                setattr(function, name, value)
