from nc_keras.layers.batch_normalization import BatchNormalization
from nc_keras.layers.cosine_classifier import CosineClassifier
from nc_keras.layers.cumulative_link import CumulativeLink
from nc_keras.layers.direct_feedback import DirectFeedback
from nc_keras.layers.direct_feedback import StopGradient
from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.etf_projector import ETFProjector
from nc_keras.layers.feature_entropy import FeatureEntropy
from nc_keras.layers.filter_response_normalization import (
    FilterResponseNormalization,
)
from nc_keras.layers.forgetting_recorder import ForgettingRecorder
from nc_keras.layers.max_pooling import MaxPooling2D
from nc_keras.layers.nearest_etf_classifier import NearestETFClassifier
from nc_keras.layers.rho import Rho
from nc_keras.layers.seen_classes import SeenClasses
from nc_keras.layers.standardization import Standardization
from nc_keras.layers.tangent_dense import TangentDense
from nc_keras.layers.tlu import TLU
from nc_keras.layers.unit_normalization import UnitNormalization
from nc_keras.layers.weight_norm_dense import WeightNormDense
from nc_keras.layers.weight_normalization import WeightNormalization

__all__ = [
    "BatchNormalization",
    "CosineClassifier",
    "CumulativeLink",
    "DirectFeedback",
    "ETFClassifier",
    "ETFProjector",
    "FeatureEntropy",
    "FilterResponseNormalization",
    "ForgettingRecorder",
    "MaxPooling2D",
    "NearestETFClassifier",
    "Rho",
    "SeenClasses",
    "Standardization",
    "StopGradient",
    "TLU",
    "TangentDense",
    "UnitNormalization",
    "WeightNormDense",
    "WeightNormalization",
]
