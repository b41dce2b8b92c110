from nc_keras.losses.bce import BCE
from nc_keras.losses.ce import CE
from nc_keras.losses.class_weights import class_balanced_weights
from nc_keras.losses.contrast import NONL
from nc_keras.losses.contrast import NTCE
from nc_keras.losses.contrast import NormFace
from nc_keras.losses.dot_regression import DotRegression
from nc_keras.losses.focal import Focal
from nc_keras.losses.ldam import LDAM
from nc_keras.losses.mse import MSE
from nc_keras.losses.rescaled_square import RescaledSquare
from nc_keras.losses.sup_con import SupCon
from nc_keras.losses.vs import VS
from nc_keras.losses.vs import LogitAdjusted

__all__ = [
    "BCE",
    "CE",
    "LDAM",
    "MSE",
    "NONL",
    "NTCE",
    "VS",
    "DotRegression",
    "Focal",
    "LogitAdjusted",
    "NormFace",
    "RescaledSquare",
    "SupCon",
    "class_balanced_weights",
]
