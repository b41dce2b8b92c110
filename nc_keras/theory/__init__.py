"""What theory predicts, to draw over what was measured."""

from nc_keras.theory import bounds
from nc_keras.theory import central_path
from nc_keras.theory import distances
from nc_keras.theory import low_rank
from nc_keras.theory import square_loss
from nc_keras.theory import unconstrained_features
from nc_keras.theory.nearest import nearest_etf
from nc_keras.theory.peeled import layer_peeled
from nc_keras.theory.peeled import minority_threshold
from nc_keras.theory.regression import regression
from nc_keras.theory.simplex_labels import seli

__all__ = [
    "bounds",
    "central_path",
    "distances",
    "layer_peeled",
    "low_rank",
    "minority_threshold",
    "nearest_etf",
    "regression",
    "seli",
    "square_loss",
    "unconstrained_features",
]
