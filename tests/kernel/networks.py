"""Networks of every kind of layer, with random weights and inputs."""

import keras
import numpy as np

import nc_keras
from nc_keras.layers import WeightNormalization

L = keras.layers


def of(inputs, *layers):
    return keras.Sequential([keras.Input(inputs), *layers])


class Subclassed(keras.Model):
    """Its order of layers is not known, and a layer is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = L.Dense(5, "tanh"), L.Dense(5, "tanh")
        self.last = L.Dense(3)

    def call(self, x, training=False):
        return self.last(self.twice(self.twice(self.first(x))))


class Tied(keras.Model):
    """Reads the kernel of a layer past its `call`."""

    def __init__(self):
        super().__init__()
        self.first, self.last = L.Dense(4, "tanh", use_bias=False), L.Dense(3)

    def call(self, x, training=False):
        h = self.first(x)
        back = keras.ops.matmul(h, keras.ops.transpose(self.first.kernel))
        return self.last(keras.ops.concatenate([h, back], axis=-1))


class Doubled(L.Dense):
    """A subclass whose gradient is another than its parent's."""

    def call(self, inputs, training=None):
        return super().call(2 * keras.ops.square(inputs))


class Scanned(L.Layer):
    """Calls a layer in a loop, from which nothing comes out."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(4, "tanh")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        def step(h, _):
            h = self.dense(h)
            return h, h

        return keras.ops.scan(step, x, keras.ops.arange(2))[0]


def built(model, *shape):
    model(np.zeros((1, *shape), "float32"))
    return model


def attention():
    x = keras.Input((4, 3))
    h = L.LayerNormalization()(x)
    h = L.MultiHeadAttention(2, 2)(h, h)
    h = L.GlobalAveragePooling1D()(L.Add()([x, h]))
    return keras.Model(x, L.Dense(3, "softmax")(h))


def tokens():
    x = keras.Input((6,), dtype="int32")
    h = L.Dense(4, "tanh")(L.Embedding(5, 3)(x))
    return keras.Model(x, L.Dense(3)(L.Flatten()(h)))


def residual():
    x = keras.Input((6, 6, 2))
    h = L.Conv2D(4, 3, padding="same", use_bias=False)(x)
    h = L.Activation("relu")(L.BatchNormalization()(h))
    h = L.Add()([h, L.Conv2D(4, 1)(x)])
    h = L.GlobalAveragePooling2D()(L.GroupNormalization(2)(h))
    return keras.Model(x, nc_keras.layers.ETFClassifier(3, seed=0)(h))


# For each: the model, and how its layers with weights are computed, where
# that is not by outer products for all.
NETWORKS = {
    "mlp": lambda: of((5,), L.Dense(4, "tanh"), L.Dense(3, "softmax")),
    "one_output": lambda: of((5,), L.Dense(4, "relu"), L.Dense(1, "sigmoid")),
    "no_bias": lambda: of((5,), L.Dense(4, "relu", use_bias=False), L.Dense(3)),
    "conv": lambda: of(
        (7, 6, 2),
        L.Conv2D(4, (3, 2), strides=2, activation="tanh"),
        L.DepthwiseConv2D(2, depth_multiplier=2, padding="same"),
        L.Conv2D(6, 2, dilation_rate=2, padding="same"),
        L.Flatten(),
        L.Dense(3),
    ),
    "groups": lambda: of(
        (4, 3, 4), L.Conv2D(6, 2, groups=2), L.Flatten(), L.Dense(2)
    ),
    "conv_1d": lambda: of(
        (9, 2),
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        L.DepthwiseConv1D(3, strides=2, padding="same"),
        L.Flatten(),
        L.Dense(3),
    ),
    "conv_3d": lambda: of(
        (4, 5, 3, 1), L.Conv3D(3, 2, padding="same"), L.Flatten(), L.Dense(2)
    ),
    "small_map": lambda: of(
        (2, 1, 3), L.Conv2D(9, 2, padding="same"), L.Flatten(), L.Dense(3)
    ),
    "residual": residual,
    "tokens": tokens,
    "attention": attention,
    "weight_norm": lambda: of(
        (6, 6, 1),
        WeightNormalization(L.Conv2D(4, 3, activation="relu")),
        WeightNormalization(L.DepthwiseConv2D(2), length=1.5),
        L.Flatten(),
        WeightNormalization(L.Dense(5, "tanh"), per="kernel"),
        nc_keras.layers.WeightNormDense(3),
        nc_keras.layers.Rho(2.0),
    ),
    "recurrent": lambda: of((4, 3), L.GRU(3), L.Dense(2)),
    "separable": lambda: of(
        (5, 5, 2), L.SeparableConv2D(3, 2), L.Flatten(), L.Dense(2)
    ),
    "nested": lambda: of(
        (5,), of((5,), L.Dense(4, "relu"), L.Dense(4)), L.Dense(3, "softmax")
    ),
    "subclassed": lambda: built(Subclassed(), 4),
    "tied": lambda: built(Tied(), 4),
    "doubled": lambda: of((4,), Doubled(5), L.Dense(2)),
    "scanned": lambda: of((4,), Scanned(), L.Dense(2)),
    "frozen": lambda: of((5,), L.Dense(4, "tanh"), L.Dense(3, trainable=False)),
}
JACOBIANS = {
    "attention": {"query", "key", "value", "attention_output"},
    "recurrent": {"gru"},
    "separable": {"separable_conv2d"},
    "subclassed": {"dense_1"},
    "tied": {"dense"},
    "doubled": {"doubled"},
    "scanned": {"dense"},
}


def drawn(name, count=5, seed=0):
    """A network with random weights, and examples for it."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(seed)
    model = NETWORKS[name]()
    for weight in model.trainable_weights:
        noise = 0.3 * generator.normal(size=weight.shape)
        weight.assign(keras.ops.convert_to_numpy(weight) + noise)
    is_graph = hasattr(model, "input_shape")
    shape = (count, *(model.input_shape[1:] if is_graph else (4,)))
    if name == "tokens":
        return model, generator.integers(0, 5, shape).astype("int32")
    return model, generator.normal(size=shape).astype("float32")
