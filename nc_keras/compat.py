"""Refuses, when it is imported, a Keras that is too old or has no backend."""

from __future__ import annotations

import importlib.util

BACKENDS = ("tensorflow", "jax", "torch")
_LOWEST = (3, 8)


def require_keras() -> None:
    """Makes sure that Keras is there with its backend, and new enough.

    Raises:
        ImportError: If not, with what was found and what to do.
    """
    try:
        import keras
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in BACKENDS or importlib.util.find_spec(name):
            raise
        raise ImportError(_no_backend(name), name=name) from error
    found = tuple(int(part) for part in keras.__version__.split(".")[:2])
    if found < _LOWEST:
        raise ImportError(
            "nc_keras needs Keras 3.8 or newer: with an older one, a training "
            "that is resumed forgets what its callbacks remembered. Run "
            "`pip install --upgrade keras`. "
            f"Found: Keras {keras.__version__}.",
            name="keras",
        )


def _no_backend(missing):
    there = [name for name in BACKENDS if importlib.util.find_spec(name)]
    choices = ", ".join(f"`pip install 'nc_keras[{x}]'`" for x in BACKENDS)
    advice = f"Install a backend: {choices}"
    if there:
        advice = f"Install it, or use one that is here: {', '.join(there)}"
    return (
        f"Keras runs on a backend, here {missing}, which is not installed. "
        f"{advice}. The environment variable KERAS_BACKEND names the one to "
        f"use, for example KERAS_BACKEND={(there or ['jax'])[0]}; without it "
        "Keras takes tensorflow."
    )


require_keras()
