"""NC4: the decision becomes that of the nearest class mean."""

from typing import Any

import numpy as np

from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import metric


@metric("nc4", "kernel", "examples")
def nc4(layer: LastLayer) -> Any:
    """Share of examples that head and nearest train mean decide differently.

    Papyan et al. 2020, Figure 7.
    """
    examples = layer.examples
    return np.mean(examples.decisions != examples.nearest_means)
