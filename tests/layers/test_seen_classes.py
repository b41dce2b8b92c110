import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.layers import SeenClasses

array = ops.convert_to_numpy


def network(classes):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu"),
            nc_keras.layers.ETFClassifier(10, scale=4.0, seed=0, name="head"),
            SeenClasses(classes, name="seen"),
        ]
    )


@pytest.mark.skipif(
    keras.backend.backend() == "numpy", reason="NumPy has no gradients"
)
def test_classes_that_come_in_two_steps(digits, tmp_path):
    keras.utils.set_random_seed(0)
    x, y = digits[0][:800], digits[1][:800]
    model = network(range(5))
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    old = y < 5
    model.fit(x[old], y[old], epochs=10, verbose=0)
    assert model.evaluate(x[old], y[old], verbose=0)[1] > 0.95
    assert (model.predict(x, verbose=0).argmax(1) < 5).all()
    model.get_layer("seen").add(range(5, 10))
    model.fit(x, y, epochs=25, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.85
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(x[:9], verbose=0), model.predict(x[:9], verbose=0)
    )
    values = nc_keras.measure(model, x, y, head="head")
    assert values["accuracy"] > 0.85


def test_before_and_after_it_is_built():
    layer = SeenClasses([1])
    layer.add([0])
    found = array(layer(np.ones((2, 3), "float32")))
    np.testing.assert_array_equal(found, [[1, 1, -np.inf]] * 2)
    again = SeenClasses.from_config(layer.get_config())
    np.testing.assert_array_equal(array(again(np.ones((2, 3)))), found)
    for classes in ([3], [-1]):
        with pytest.raises(ValueError, match=r"in 0 \.\. 2"):
            layer.add(classes)
    with pytest.raises(ValueError, match=r"in 0 \.\. 1"):
        SeenClasses([0, 5])(np.ones((1, 2)))
