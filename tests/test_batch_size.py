"""The batch size of a measurement where nobody names one."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.measuring.batch_size import suitable_batch_size


def network(*widths, inputs=(4,)):
    layers = [keras.layers.Dense(width) for width in widths]
    return keras.Sequential([keras.Input(inputs), *layers])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = network(3)

    def call(self, x):
        return self.head(x)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (network(8, 3), 2048),
        (network(2**13, 3), 1024),  # of 2^13 floats 2^10 are 32 MB
        (network(2**13 + 1, 3), 512),
        (network(2**13, 3, inputs=(2, 4)), 512),
        (network(8, 3, inputs=(None, 4)), 256),
        (nc_keras.models.ResNet(18, (32, 32, 3), 10), 256),
    ],
)
def test_the_largest_output_decides(model, size):
    assert suitable_batch_size(model) == size
    nested = keras.Sequential([keras.Input(model.input_shape[1:]), model])
    assert suitable_batch_size(nested) == size


def split(x):
    return keras.layers.Lambda(lambda x: [x[:, :2], x[:, 2:]])(x)[0]


def twice(x):
    dense = keras.layers.Dense(4)
    return dense(dense(x))


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (lambda x: keras.ops.reshape(x, (-1, 4)), 2048),
        (lambda x: keras.ops.tile(x, [1, 1, 2**13])[:, :, :4], 256),
        (lambda x: keras.layers.TimeDistributed(keras.layers.Dense(2))(x), 256),
        (lambda x: keras.layers.MultiHeadAttention(1, 2)(x, x), 256),
        (split, 256),
        (twice, 2048),
    ],
)
def test_operations_and_layers_that_are_made_of_others(layer, size):
    inputs = keras.Input((2, 4) if size == 256 else (4,))
    outputs = keras.layers.Dense(3)(layer(inputs))
    assert suitable_batch_size(keras.Model(inputs, outputs)) == size


def test_a_subclassed_model_says_nothing_of_its_layers():
    model = Subclassed()
    model(np.ones((2, 4)))
    assert suitable_batch_size(model) == 256


def test_a_measurement_takes_it(rng):
    sizes, model = [], network(8, 3)
    extractor = nc_keras.FeatureExtractor(model)
    x, y = rng.normal(size=(3000, 4)), np.arange(3000) % 3
    sizes = [len(labels) for _, labels in extractor.batches(x, y)]
    assert sizes == [2048, 952]
    values = nc_keras.measure(extractor, x, y)
    others = nc_keras.measure(extractor, x, y, batch_size=7)
    assert values["nc1"] == pytest.approx(others["nc1"], rel=1e-4)
    with pytest.raises(ValueError, match="batch_size=0"):
        nc_keras.measure(extractor, x, y, batch_size=0)
