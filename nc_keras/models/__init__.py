from nc_keras.models.conv_net import ConvNet
from nc_keras.models.mlp import MLP

__all__ = ["MLP", "ConvNet"]
