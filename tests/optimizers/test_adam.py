import keras
import numpy as np
import pytest
from keras import ops

from nc_keras.optimizers import Adam
from nc_keras.optimizers import Signum


def gradients(steps=50):
    return np.random.default_rng(0).normal(size=(steps, 5)).astype("float32")


def run(optimizer, start):
    variable = keras.Variable(start)
    for gradient in gradients():
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    return ops.convert_to_numpy(variable)


START = np.linspace(-1, 1, 5).astype("float32")


def test_adam_is_pytorchs():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor(START))
    theirs = torch.optim.Adam([weight], lr=0.01, weight_decay=0.3)
    for gradient in gradients():
        weight.grad = torch.tensor(gradient)
        theirs.step()
    found = run(Adam(0.01, weight_decay=0.3), START)
    expected = weight.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    # Decoupled decay is another rule.
    other = run(keras.optimizers.AdamW(0.01, weight_decay=0.3), START)
    assert np.abs(other - expected).max() > 0.01


@pytest.mark.parametrize("decoupled", [False, True])
def test_signum_is_its_recurrence(decoupled):
    w, velocity = START.astype("float64"), 0.0
    for gradient in gradients():
        if decoupled:
            w = w - 0.01 * 0.3 * w
        else:
            gradient = gradient + 0.3 * w
        velocity = 0.9 * velocity + 0.1 * gradient
        w = w - 0.01 * np.sign(velocity)
    found = run(Signum(0.01, 0.9, weight_decay=0.3, decoupled=decoupled), START)
    np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [Adam, Signum])
def test_what_is_left_out_does_not_decay_and_configs_are_whole(make):
    optimizer = make(0.1, weight_decay=0.5)
    variable = keras.Variable([1.0], name="bias")
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros(1)], [variable])
    assert float(ops.convert_to_numpy(variable)[0]) == 1.0
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    with pytest.raises(ValueError, match="`weight_decay` must be a number"):
        make(0.1, weight_decay=-1.0)


def test_wrong_momentum():
    with pytest.raises(ValueError, match="`momentum` must be in"):
        Signum(0.1, momentum=1.0)
