from nc_keras.optimizers.adam import Adam
from nc_keras.optimizers.sgd import SGD
from nc_keras.optimizers.signum import Signum

__all__ = ["SGD", "Adam", "Signum"]
