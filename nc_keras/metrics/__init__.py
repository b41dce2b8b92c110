# The order of these imports is the order in which metrics are reported.
from nc_keras.metrics import nc1  # isort: skip
from nc_keras.metrics import cdnv_directional  # isort: skip
from nc_keras.metrics import nc2  # isort: skip
from nc_keras.metrics import nc3  # isort: skip
from nc_keras.metrics import nc4  # isort: skip
from nc_keras.metrics import nc0  # isort: skip
from nc_keras.metrics import accuracy  # isort: skip
from nc_keras.metrics import linguistic  # isort: skip
from nc_keras.metrics import vci  # isort: skip
from nc_keras.metrics import separation  # isort: skip
from nc_keras.metrics import hyperspherical_uniformity  # isort: skip
from nc_keras.metrics import softmax_code  # isort: skip
from nc_keras.metrics import subspace  # isort: skip
from nc_keras.metrics import feature_size  # isort: skip
from nc_keras.metrics import nearest_etf  # isort: skip
from nc_keras.metrics import group_accuracy  # isort: skip
from nc_keras.metrics import group_geometry  # isort: skip
from nc_keras.metrics import nc5  # isort: skip
from nc_keras.metrics import per_class  # isort: skip
from nc_keras.errors import NonFiniteError
from nc_keras.measuring.class_statistics import ClassStatistics
from nc_keras.measuring.last_layer import LastLayer
from nc_keras.measuring.registry import METRICS
from nc_keras.measuring.registry import Metric
from nc_keras.measuring.registry import metric
from nc_keras.metrics import class_pairs
from nc_keras.metrics import neco
from nc_keras.metrics import ood_scores
from nc_keras.metrics import roc
from nc_keras.metrics.class_groups import group_means
from nc_keras.metrics.collapse_metric import CollapseMetric
from nc_keras.metrics.collapse_metrics import collapse_metrics
from nc_keras.metrics.collapse_metrics import metrics_from_statistics
from nc_keras.metrics.mse_decomposition import MSEDecomposition
from nc_keras.metrics.mse_decomposition import equivalent_decay
from nc_keras.metrics.mse_decomposition import mse_decomposition
from nc_keras.metrics.running_statistics import RunningStatistics
from nc_keras.namesakes import stand_for_module

__all__ = [
    "METRICS",
    "ClassStatistics",
    "CollapseMetric",
    "LastLayer",
    "MSEDecomposition",
    "Metric",
    "NonFiniteError",
    "RunningStatistics",
    "accuracy",
    "cdnv_directional",
    "class_pairs",
    "collapse_metrics",
    "equivalent_decay",
    "feature_size",
    "group_accuracy",
    "group_geometry",
    "group_means",
    "hyperspherical_uniformity",
    "linguistic",
    "metric",
    "metrics_from_statistics",
    "mse_decomposition",
    "nc0",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
    "nc5",
    "nearest_etf",
    "neco",
    "ood_scores",
    "per_class",
    "roc",
    "separation",
    "softmax_code",
    "subspace",
    "vci",
]
stand_for_module(collapse_metrics, mse_decomposition)
