"""The names that `import nc_keras` brings."""

# First, for it says what is wrong with the Keras that all others import.
import nc_keras.compat  # noqa: F401
from nc_keras import adversarial
from nc_keras import callbacks
from nc_keras import codes
from nc_keras import forgetting
from nc_keras import geometry
from nc_keras import kernel
from nc_keras import layers
from nc_keras import losses
from nc_keras import metrics
from nc_keras import models
from nc_keras import multi_label
from nc_keras import optimizers
from nc_keras import ordinal
from nc_keras import plot
from nc_keras import regression
from nc_keras import scores
from nc_keras import theory
from nc_keras import weights
from nc_keras.few_shot import few_shot
from nc_keras.layerwise import layerwise
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.measure import measure
from nc_keras.measuring.verdict import verdict
from nc_keras.namesakes import stand_for_module
from nc_keras.report import report
from nc_keras.robustness import DeepFool
from nc_keras.robustness import deepfool

__all__ = [
    "DeepFool",
    "FeatureExtractor",
    "adversarial",
    "callbacks",
    "codes",
    "deepfool",
    "few_shot",
    "forgetting",
    "geometry",
    "kernel",
    "layers",
    "layerwise",
    "losses",
    "measure",
    "metrics",
    "models",
    "multi_label",
    "optimizers",
    "ordinal",
    "plot",
    "regression",
    "report",
    "scores",
    "theory",
    "verdict",
    "weights",
]
stand_for_module(layerwise, report)
