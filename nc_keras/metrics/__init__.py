# The order of these imports is the order in which metrics are reported.
from nc_keras.metrics import nc1  # isort: skip
from nc_keras.metrics import nc2  # isort: skip
from nc_keras.metrics import nc3  # isort: skip
from nc_keras.metrics import nc4  # isort: skip
from nc_keras.metrics import nc0  # isort: skip
from nc_keras.metrics import accuracy  # isort: skip
from nc_keras.metrics.class_statistics import ClassStatistics
from nc_keras.metrics.class_statistics import NonFiniteError
from nc_keras.metrics.collapse_metric import CollapseMetric
from nc_keras.metrics.collapse_metrics import collapse_metrics
from nc_keras.metrics.collapse_metrics import metrics_from_statistics
from nc_keras.metrics.last_layer import LastLayer
from nc_keras.metrics.registry import METRICS
from nc_keras.metrics.registry import metric

__all__ = [
    "METRICS",
    "ClassStatistics",
    "CollapseMetric",
    "LastLayer",
    "NonFiniteError",
    "accuracy",
    "collapse_metrics",
    "metric",
    "metrics_from_statistics",
    "nc0",
    "nc1",
    "nc2",
    "nc3",
    "nc4",
]
