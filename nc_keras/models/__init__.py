from nc_keras.models.centered import centered
from nc_keras.models.conv_net import ConvNet
from nc_keras.models.densenet import DenseNet
from nc_keras.models.direct_feedback import direct_feedback
from nc_keras.models.homogeneous_net import HomogeneousNet
from nc_keras.models.mlp import MLP
from nc_keras.models.normalization import renormalized
from nc_keras.models.normalized import Normalized
from nc_keras.models.resnet import ResNet
from nc_keras.models.unconstrained_features import UnconstrainedFeatures
from nc_keras.models.vgg import VGG

__all__ = [
    "MLP",
    "VGG",
    "ConvNet",
    "DenseNet",
    "HomogeneousNet",
    "Normalized",
    "ResNet",
    "UnconstrainedFeatures",
    "centered",
    "direct_feedback",
    "renormalized",
]
