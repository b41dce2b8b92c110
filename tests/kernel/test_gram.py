import contextlib
import json
import logging
import pathlib
import sys

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.kernel import gram
from nc_keras.kernel.backends import current
from nc_keras.kernel.network import Network
from nc_keras.kernel.units import JACOBIAN
from nc_keras.kernel.units import OUTER
from tests.kernel.networks import JACOBIANS
from tests.kernel.networks import NETWORKS
from tests.kernel.networks import drawn

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)

DATA = pathlib.Path(__file__).parents[1] / "data/kernel.json"
L = keras.layers


@pytest.fixture(scope="module")
def reference():
    return json.loads(DATA.read_text())


@pytest.fixture
def double():
    """Lets the backend compute in float64."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "jax":
            import jax

            stack.callback(
                jax.config.update, "jax_enable_x64", jax.config.jax_enable_x64
            )
            jax.config.update("jax_enable_x64", True)
        # torch takes arrays in this dtype.
        stack.callback(keras.config.set_floatx, keras.config.floatx())
        keras.config.set_floatx("float64")
        yield


def jacobian_kernel(model, x):
    """The full kernel, by the Jacobian of each example alone."""
    network = Network(model, x, use_rules=False)
    parts = network.parts(network.read(), keras.ops.convert_to_tensor(x))
    rows = np.concatenate(
        [np.array(keras.ops.convert_to_numpy(p.rows)) for (p,) in parts], -1
    )
    rows = rows.transpose(1, 0, 2).reshape(-1, rows.shape[-1]).astype(float)
    return rows @ rows.T


def close(found, expected, tolerance=1e-5):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def exact():
    """How far a kernel of float64 may be off the reference's ten digits."""
    # The products of Keras are those of float32 on torch.
    return 2e-5 if keras.backend.backend() == "torch" else 1e-9


def leaky(z):
    return keras.ops.maximum(z, 0.2 * z)


@pytest.mark.parametrize("outputs", ["full", "each", "trace"])
def test_the_reference(reference, double, outputs):
    weights = [np.array(a) for layer in reference["weights"] for a in layer]
    dense = [
        L.Dense(6, leaky, dtype="float64"),
        L.Dense(5, leaky, dtype="float64"),
        L.Dense(4, dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *dense])
    model.set_weights(weights)
    expected = np.array(reference["gram_full"])
    grid = expected.reshape(12, 4, 12, 4)
    if outputs == "each":
        expected = np.einsum("ncmc->cnm", grid)
    if outputs == "trace":
        expected = np.einsum("ncmc->nm", grid) / 4
    found = gram(model, np.array(reference["X"]), outputs)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=exact())
    assert found.values.dtype == "float64"


def test_the_reference_of_a_convolution(reference, double):
    case = reference["conv"]
    kernel, dense = np.array(case["kernel"]), np.array(case["dense"])
    units = kernel.shape[-1]
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2), dtype="float64"),
            L.Conv2D(units, 3, activation="relu", dtype="float64"),
            L.Flatten(dtype="float64"),
            # The mean over positions of Keras is one of float32 on JAX.
            L.Lambda(
                lambda h: (
                    keras.ops.sum(keras.ops.reshape(h, (-1, 9, units)), axis=1)
                    / 9
                ),
                dtype="float64",
            ),
            L.Dense(2, "softmax", dtype="float64"),
        ]
    )
    model.set_weights([kernel, np.zeros(units), dense, np.zeros(2)])
    found = gram(model, np.array(case["x"]), "full")
    expected = np.array(case["gram_full"])
    # That of finite differences.
    atol = max(exact(), 1e-8)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", NETWORKS)
def test_rules_are_the_jacobian(name):
    if name == "groups" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no gradients of groups on a CPU")
    model, x = drawn(name)
    before = [np.array(w) for w in model.get_weights()]
    found = gram(model, x, "full", layers="all")
    close(found.values, jacobian_kernel(model, x))
    by_jacobian = {k for k, how in found.how.items() if how == JACOBIAN}
    assert JACOBIANS.get(name, set()) <= by_jacobian
    assert by_jacobian == JACOBIANS.get(name, set()) or name == "scanned"
    assert set(found.how.values()) <= {OUTER, JACOBIAN}
    assert set(found.by_layer) == set(found.how)
    close(sum(found.by_layer.values()), found.values)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "weight_norm"])
def test_finite_differences(name):
    model, x = drawn(name, count=3)
    network = Network(model, x)
    tensor = keras.ops.convert_to_tensor(x)
    columns = []
    for weight in network.weights:
        start = keras.ops.convert_to_numpy(weight).copy()
        for index in np.ndindex(start.shape):
            sides = []
            for step in (1e-2, -1e-2):
                moved = start.copy()
                moved[index] += step
                weight.assign(moved)
                outputs = network.outputs(network.read(), tensor)
                sides.append(outputs.astype(float))
            columns.append((sides[0] - sides[1]).reshape(-1) / 2e-2)
        weight.assign(start)
    jacobian = np.array(columns).T
    # Float32, divided by the step, and what the second order leaves.
    close(gram(model, x, "full").values, jacobian @ jacobian.T, 5e-3)


@pytest.mark.parametrize(
    "name, outputs",
    [
        ("conv", "trace"),
        ("conv", "each"),
        ("tokens", "trace"),
        ("tokens", "full"),
        ("small_map", "each"),
        ("small_map", "full"),
        ("recurrent", "trace"),
    ],
)
def test_batches_and_blocks_change_nothing(name, outputs):
    model, x = drawn(name, count=7)
    whole = gram(model, x, outputs).values
    # In blocks of one example, in batches of three.
    less = gram(model, x, outputs, batch_size=3, memory=16 * whole.size)
    close(less.values, whole)
    assert np.array_equal(whole, np.swapaxes(whole, -1, -2))


def test_the_forms_agree():
    model, x = drawn("conv")
    full = gram(model, x, "full").values.reshape(5, 3, 5, 3)
    each = gram(model, x, "each").values
    close(each, np.einsum("ncmc->cnm", full))
    close(gram(model, x).values, each.mean(axis=0))
    alone, x = drawn("one_output")
    full = gram(alone, x, "full").values
    close(gram(alone, x).values, full)
    close(gram(alone, x, "each").values[0], full)


def test_layers_are_chosen():
    model, x = drawn("conv")
    whole = gram(model, x, layers="all")
    first, *_, last = model.layers
    some = gram(model, x, layers=[first, last.name])
    assert list(some.by_layer) == [first.name, last.name]
    close(some.values, whole.by_layer[first.name] + whole.by_layer[last.name])
    with pytest.raises(ValueError, match="without trained weights"):
        gram(model, x, layers=model.layers[-2])
    with pytest.raises(ValueError, match="must name a layer"):
        gram(model, x, layers="nothing")


def test_a_fixed_head_adds_nothing_and_passes_gradients_on():
    model, x = drawn("residual")
    found = gram(model, x, layers="all")
    assert "etf_classifier" not in found.how and found.values.any()
    model.layers[1].trainable = False
    less = gram(model, x, layers="all")
    assert set(found.how) - set(less.how) == {model.layers[1].name}
    close(less.values, found.values - found.by_layer[model.layers[1].name])


def test_one_step_is_what_the_kernel_predicts():
    model, x = drawn("mlp", count=8)
    targets = np.eye(3)[np.arange(8) % 3]
    model.layers[-1].activation = keras.activations.linear
    logits = keras.models.clone_model(model)
    logits.set_weights(model.get_weights())
    logits.compile(keras.optimizers.SGD(1e-3), loss=nc_keras.losses.MSE("sum"))
    before = logits.predict(x, verbose=0).astype(float)
    kernel = gram(logits, x, "full").values
    logits.train_on_batch(x, targets)
    change = logits.predict(x, verbose=0) - before
    residual = (before - targets).reshape(-1)
    predicted = -(1e-3 * 2 / 8) * kernel @ residual
    # The outputs are of float32, and their change is a thousandth of them.
    close(change.reshape(-1), predicted, 5e-3)


def test_half_precision_is_measured_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    model, x = drawn("conv")
    half = gram(model, x, "full").values
    keras.config.set_dtype_policy("float32")
    single, _ = drawn("conv")
    single.set_weights(model.get_weights())
    close(half, gram(single, x, "full").values)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: L.Conv2D(2, 3), "one vector per example"),
        (lambda: L.Flatten(), "has none"),
    ],
)
def test_models_that_have_no_kernel(make, match):
    model = keras.Sequential([keras.Input((5, 5, 1)), make()])
    with pytest.raises(ValueError, match=match):
        gram(model, np.zeros((4, 5, 5, 1)))


def test_what_is_refused():
    model, x = drawn("mlp")
    with pytest.raises(ValueError, match="two examples or more"):
        gram(model, x[:1])
    with pytest.raises(ValueError, match="enough for 2 examples"):
        gram(model, x, memory=100)
    with pytest.raises(ValueError, match="`outputs` must be one of"):
        gram(model, x, "all")
    with pytest.raises(TypeError, match="array of examples"):
        gram(model, iter([x]))
    with pytest.raises(ValueError, match="inference mode"):
        gram(model, x, training=True)
    weights = model.get_weights()
    model.set_weights([weights[0] * np.nan, *weights[1:]])
    with pytest.raises(ValueError, match="NaN"):
        gram(model, x)


def test_probabilities_of_a_subclassed_model_are_refused():
    class Probabilities(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x, training=False):
            return keras.ops.softmax(self.dense(x))

    model = Probabilities()
    model(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="probabilities"):
        gram(model, np.ones((2, 4)))


@pytest.mark.parametrize("outputs", ["trace", "each", "full"])
@pytest.mark.parametrize("name", ["conv", "weight_norm", "recurrent"])
def test_some_outputs_at_a_time_give_the_same(name, outputs, monkeypatch):
    model, x = drawn(name)
    expected = gram(model, x, outputs, layers="all")
    module = sys.modules["nc_keras.kernel.gram"]
    monkeypatch.setattr(module, "_TILE", 8)
    for enough in (1, 1500):
        monkeypatch.setattr(module, "_ENOUGH", enough)
        found = gram(model, x, outputs, layers="all")
        close(found.values, expected.values)
        for layer, share in expected.by_layer.items():
            close(found.by_layer[layer], share)


def test_batches_of_one_example():
    model, x = drawn("attention")
    found = gram(model, x, "full", batch_size=1).values
    close(found, gram(model, x, "full").values)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's warning"
)
def test_layers_of_many_shapes_make_tensorflow_warn_of_nothing(caplog):
    doubled = current().compiled(lambda tensors: ops.multiply(tensors[0], 2))
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        sums = [ops.sum(doubled([ops.ones(size)])) for size in range(2, 20)]
    finally:
        logger.removeHandler(caplog.handler)
    assert [float(one) for one in sums] == list(range(4, 40, 2))
    assert not caplog.records
