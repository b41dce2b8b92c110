"""What theory predicts, to draw over what was measured."""

from nc_keras.theory import bounds
from nc_keras.theory import central_path
from nc_keras.theory import low_rank
from nc_keras.theory import square_loss
from nc_keras.theory import unconstrained_features

__all__ = [
    "bounds",
    "central_path",
    "low_rank",
    "square_loss",
    "unconstrained_features",
]
