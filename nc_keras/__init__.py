"""Train Keras classifiers to neural collapse, and measure it exactly."""

import importlib
import os
import sys
import types
from typing import TYPE_CHECKING
from typing import Any

__version__ = "0.1.0"

# Functions that have the name of their module.
_NAMESAKES = ("few_shot", "layerwise", "report")


class _Package(types.ModuleType):
    """Keeps a function where importing its module would hide it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NAMESAKES and isinstance(value, types.ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

# All at once, so that Keras finds the classes of saved models. A command
# defers it: what it prints before it works, such as `--help`, needs no Keras.
if TYPE_CHECKING or not os.environ.get("NC_KERAS_DEFER"):
    from nc_keras.public import *  # noqa: F403
    from nc_keras.public import __all__ as __all__


def __getattr__(name: str) -> Any:
    """Imports what was deferred, when it is first used."""
    is_special = name.startswith("__") and name != "__all__"
    if name != "public" and not is_special:
        public = importlib.import_module("nc_keras.public")
        if hasattr(public, name):
            return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
