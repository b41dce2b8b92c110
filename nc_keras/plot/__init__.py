"""Drawings of neural collapse, with Matplotlib, for papers and notebooks.

    pip install nc_keras[plot]

`import nc_keras` does not import Matplotlib: a drawing does, when it is
asked for. Each returns a `matplotlib.figure.Figure`, which its `savefig`
writes as PDF, SVG or PNG.
"""

import importlib
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from nc_keras.plot.collapse import collapse_movie
    from nc_keras.plot.depth import layers
    from nc_keras.plot.detection import roc
    from nc_keras.plot.feature_movie import FeatureMovie
    from nc_keras.plot.feature_plane import features
    from nc_keras.plot.heatmap import cosines
    from nc_keras.plot.singular_values import spectrum
    from nc_keras.plot.training import curves

__all__ = [
    "FeatureMovie",
    "collapse_movie",
    "cosines",
    "curves",
    "features",
    "layers",
    "roc",
    "spectrum",
]
# No module has the name of a function: it would hide it.
_MODULES = {
    "FeatureMovie": "feature_movie",
    "collapse_movie": "collapse",
    "cosines": "heatmap",
    "curves": "training",
    "features": "feature_plane",
    "layers": "depth",
    "roc": "detection",
    "spectrum": "singular_values",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"{__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "matplotlib":
            raise
        raise ImportError(
            f"`nc_keras.plot.{name}` draws with Matplotlib, which is not "
            "installed. Run `pip install 'nc_keras[plot]'`."
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
