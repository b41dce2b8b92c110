from nc_keras.layers.etf_classifier import ETFClassifier
from nc_keras.layers.weight_norm_dense import WeightNormDense
from nc_keras.layers.weight_normalization import WeightNormalization

__all__ = ["ETFClassifier", "WeightNormDense", "WeightNormalization"]
