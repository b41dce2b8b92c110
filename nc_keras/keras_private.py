"""What we take of Keras that it has no public name for."""

from keras.src.backend import get_keras_mask
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.losses.loss import unscale_loss_for_distribution

__all__ = [
    "get_keras_mask",
    "in_stateless_scope",
    "unscale_loss_for_distribution",
]
