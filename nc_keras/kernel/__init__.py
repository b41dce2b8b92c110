"""The tangent kernel of a network, and how it aligns with the labels."""

from nc_keras.kernel.agop import FeatureMatrices
from nc_keras.kernel.agop import agop
from nc_keras.kernel.alignment import alignment
from nc_keras.kernel.cka import cka
from nc_keras.kernel.gram import gram
from nc_keras.kernel.infinite import infinite
from nc_keras.kernel.network import Network
from nc_keras.kernel.rayleigh import rayleigh
from nc_keras.kernel.spectrum import frobenius_of
from nc_keras.kernel.spectrum import lambda_max
from nc_keras.kernel.spectrum import top
from nc_keras.kernel.spectrum import trace_of
from nc_keras.kernel.zca import Whitening
from nc_keras.kernel.zca import zca

__all__ = [
    "FeatureMatrices",
    "Network",
    "Whitening",
    "agop",
    "alignment",
    "cka",
    "frobenius_of",
    "gram",
    "infinite",
    "lambda_max",
    "rayleigh",
    "top",
    "trace_of",
    "zca",
]
