"""What theory predicts, to draw over what was measured."""

from nc_keras.theory import central_path
from nc_keras.theory import unconstrained_features

__all__ = ["central_path", "unconstrained_features"]
