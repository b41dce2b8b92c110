"""Direct feedback alignment, beside reference gradients."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import nc_keras
from nc_keras.layers import DirectFeedback

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

DATA = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/beside.json").read_text()
)["dfa"]
X = np.array(DATA["x"], "float32")
Y = np.argmax(DATA["y"], axis=1)


def network():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(5, activation="tanh"),
            layers.Dense(4, activation="tanh"),
            layers.Dense(2),
        ]
    )
    weights = []
    for kernel in map(np.array, DATA["W"]):
        weights += [kernel, np.zeros(kernel.shape[1])]
    model.set_weights(weights)
    return model


def gradients(trained, model, loss=None, x=X, y=Y):
    """What one step of gradient descent takes from each weight."""
    before = [np.array(w) for w in model.get_weights()]
    trained.compile(
        keras.optimizers.SGD(1.0), loss=loss or nc_keras.losses.CE()
    )
    trained.fit(x, y, batch_size=len(x), verbose=0)
    after = model.get_weights()
    return [a - b for a, b in zip(before, after, strict=True)]


def with_feedback(model, feedback, sign=False):
    """The model with given matrices in place of random ones."""
    trained = nc_keras.models.direct_feedback(model, sign=sign, seed=0)
    layer = trained.get_layer("feedback")
    matrices = [np.sign(f) if sign else f for f in feedback]
    layer._feedback = [np.array(f, "float32").T for f in matrices]
    return trained


@pytest.mark.parametrize(
    "key, sign", [("grad_dfa", False), ("grad_bdfa", True)]
)
def test_gradients_are_those_of_the_reference(key, sign):
    model = network()
    feedback = [np.array(f) for f in DATA["F"]]
    found = gradients(with_feedback(model, feedback, sign), model)
    for ours, theirs in zip(found, DATA[key], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    plain = network()
    expected = gradients(plain, plain)
    for ours, theirs in zip(expected, DATA["grad_bp"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_last_layer_learns_by_its_gradient():
    model, plain = network(), network()
    found = gradients(nc_keras.models.direct_feedback(model, seed=1), model)
    expected = gradients(plain, plain)
    for ours, theirs in zip(found[-2:], expected[-2:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(found[0] - expected[0]).max() > 1e-3
    # The transposed head as feedback is backpropagation for the layer before.
    model = network()
    head = np.array(DATA["W"][-1]).T
    found = gradients(with_feedback(model, [DATA["F"][0], head]), model)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


def conv_net():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(10),
        ]
    )


@pytest.mark.parametrize("sign", [False, True])
def test_a_convolutional_network_learns(sign, digits):
    keras.utils.set_random_seed(0)
    x, y = digits[0][:500], digits[1][:500]
    model = conv_net()
    trained = nc_keras.models.direct_feedback(model, sign=sign, seed=0)
    expected = ops.convert_to_numpy(model(x[:5]))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(trained(x[:5])), expected
    )
    trained.compile(
        nc_keras.optimizers.SGD(0.02, 0.9),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    (before,) = model.layers[0].get_weights()
    trained.fit(x, y, epochs=15, verbose=0)
    (after,) = model.layers[0].get_weights()
    assert np.abs(after - before).max() > 0.01
    accuracy = trained.evaluate(x, y, verbose=0)[1]
    assert accuracy > (0.2 if sign else 0.5)
    found = (model.predict(x, verbose=0).argmax(1) == y).mean()
    assert found == pytest.approx(accuracy, abs=0.005)


def test_saved_and_measured(tmp_path, digits):
    x, y = digits[0][:100], digits[1][:100]
    model = conv_net()
    trained = nc_keras.models.direct_feedback(model, seed=0)
    trained.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded(x)), ops.convert_to_numpy(trained(x))
    )
    expected = nc_keras.measure(model, x, y)
    assert np.isfinite(expected["nc1"])
    assert nc_keras.measure(trained, x, y) == pytest.approx(expected, rel=1e-5)
    inside = keras.Sequential([keras.Input((8, 8, 1)), trained])
    assert nc_keras.measure(inside, x, y) == pytest.approx(expected, rel=1e-5)


def test_the_seed_and_the_matrices():
    outputs, hidden = np.ones((2, 3)), [np.ones((2, 5)), np.ones((2, 2, 2, 4))]
    one, same, other = (DirectFeedback(seed=seed) for seed in (0, 0, 1))
    for layer in (one, same, other):
        layer(outputs, hidden)
    assert [f.shape for f in one._feedback] == [(5, 3), (16, 3)]
    np.testing.assert_array_equal(one._feedback[1], same._feedback[1])
    assert (one._feedback[1] != other._feedback[1]).any()
    assert np.abs(one._feedback[0]).max() <= 1
    signs = DirectFeedback(sign=True, seed=0)
    signs(outputs, hidden)
    assert set(np.unique(signs._feedback[0])) == {-1.0, 1.0}


def test_branches_are_refused():
    model = nc_keras.models.ResNet(18, (32, 32, 1), 3, width=2)
    with pytest.raises(ValueError, match="follow one another"):
        nc_keras.models.direct_feedback(model)
