from nc_keras.optimizers.sgd import SGD

__all__ = ["SGD"]
