"""NC4: the decision becomes that of the nearest class mean."""

import numpy as np

from nc_keras.measuring.examples import Examples
from nc_keras.measuring.registry import metric


@metric(
    "nc4",
    "kernel",
    "means",
    over="examples",
    group="NC4",
    title="share of decisions that differ",
    note="share that disagrees",
    formula=(
        "share of examples where argmax(Wh + b) is not the nearest train class "
        "mean"
    ),
    goal="0",
    source="Papyan et al. 2020, Fig. 7",
    limits=(0.01, 0.05),
)
def nc4(examples: Examples) -> np.ndarray:
    """Share of examples that head and nearest train mean decide differently.

    Papyan et al. 2020, Figure 7.
    """
    return examples.decisions != examples.nearest_means
