from nc_keras.losses.ce import CE
from nc_keras.losses.mse import MSE
from nc_keras.losses.rescaled_square import RescaledSquare

__all__ = ["CE", "MSE", "RescaledSquare"]
