import keras
import numpy as np
import pytest
from keras import ops

from nc_keras.optimizers import SGD


def run(optimizer, variable, steps, rates):
    """Minimises a quadratic with a different gradient at every step."""
    rng = np.random.default_rng(0)
    for step in range(steps):
        optimizer.learning_rate = rates(step)
        noise = rng.normal(size=5).astype("float32")
        gradient = ops.convert_to_numpy(variable) * 0.3 + noise
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    return ops.convert_to_numpy(variable)


def recurrence(start, steps, rates, momentum, decay, nesterov):
    """PyTorch's documented update, in float64."""
    rng = np.random.default_rng(0)
    w, velocity = start.astype("float64"), 0.0
    for step in range(steps):
        noise = rng.normal(size=5).astype("float32")
        d = w.astype("float32") * np.float32(0.3) + noise + decay * w
        velocity = momentum * velocity + d
        w = w - rates(step) * (
            d + momentum * velocity if nesterov else velocity
        )
    return w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_recurrence_over_1000_steps_with_drops_to_1e_6(momentum, nesterov):
    def rates(step):
        return 0.1 * 0.1 ** (step // 180)  # 0.1 down to 1e-6

    start = np.linspace(-1, 1, 5).astype("float32")
    optimizer = SGD(0.1, momentum, weight_decay=5e-2, nesterov=nesterov)
    final = run(optimizer, keras.Variable(start), 1000, rates)
    expected = recurrence(start, 1000, rates, momentum, 5e-2, nesterov)
    np.testing.assert_allclose(final, expected, rtol=2e-5, atol=2e-6)


def test_decay_alone_is_the_papers_and_not_keras_own():
    # 2000 steps at rate 0.1, momentum 0.9, decay 5e-4 without a gradient:
    # the coupled rule leaves 0.368 of a weight, Keras' decoupled one 0.905.
    left = {}
    for name, optimizer in {
        "coupled": SGD(0.1, 0.9, weight_decay=5e-4),
        "keras": keras.optimizers.SGD(0.1, 0.9, weight_decay=5e-4),
    }.items():
        variable = keras.Variable([1.0])
        for _ in range(2000):
            optimizer.apply([ops.zeros(1)], [variable])
        left[name] = float(ops.convert_to_numpy(variable)[0])
    assert left["coupled"] == pytest.approx(0.368, abs=1e-3)
    assert left["keras"] == pytest.approx(0.905, abs=1e-3)


def test_a_rate_drop_acts_at_once():
    variable = keras.Variable([0.0])
    optimizer = SGD(1.0, momentum=0.9)
    optimizer.apply([ops.ones(1)], [variable])
    optimizer.learning_rate = 1e-3
    optimizer.apply([ops.zeros(1)], [variable])
    assert float(ops.convert_to_numpy(variable)[0]) == pytest.approx(-1.0009)


def test_decays_every_variable_unless_excluded():
    kernel = keras.Variable([1.0], name="kernel")
    bias = keras.Variable([1.0], name="bias")
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.apply([ops.zeros(1), ops.zeros(1)], [kernel, bias])
    assert float(ops.convert_to_numpy(bias)[0]) == pytest.approx(0.95)
    kernel.assign([1.0])
    bias.assign([1.0])
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros(1), ops.zeros(1)], [kernel, bias])
    assert float(ops.convert_to_numpy(kernel)[0]) == pytest.approx(0.95)
    assert float(ops.convert_to_numpy(bias)[0]) == 1.0


class OneByOne(SGD):
    """Has an update of its own, which must be the one that is called."""

    calls = 0

    def update_step(self, gradient, variable, learning_rate):
        self.calls += 1
        super().update_step(gradient, variable, learning_rate)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"weight_decay": 0.1, "clipnorm": 0.5},
        {"momentum": 0.9, "gradient_accumulation_steps": 2, "use_ema": True},
    ],
    ids=str,
)
def test_all_variables_together_as_one_by_one(options, rng):
    gradients = [rng.normal(size=s).astype("float32") for s in [(2, 3), (4,)]]
    given = [ops.convert_to_tensor(gradient) for gradient in gradients]
    found = {}
    for kind in (SGD, OneByOne):
        optimizer = kind(0.1, **options)
        variables = [keras.Variable(ops.ones_like(g)) for g in given]
        optimizer.build(variables)
        optimizer.exclude_from_weight_decay(variables[:1])
        for _ in range(6):
            optimizer.apply(given, variables)
        found[kind] = [*variables, *optimizer.variables]
    assert optimizer.calls > 0
    for one, other in zip(*found.values(), strict=True):
        one, other = (ops.convert_to_numpy(each) for each in (one, other))
        np.testing.assert_allclose(one, other, rtol=1e-5)
    for kept, gradient in zip(given, gradients, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(kept), gradient)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="Keras has no stateless updates on TensorFlow",
)
def test_stateless_it_changes_nothing_in_place():
    optimizer, variable = SGD(0.1, 0.9), keras.Variable([1.0])
    optimizer.build([variable])
    state = [v.value for v in optimizer.variables]
    for value in (variable.value, ops.convert_to_tensor([1.0])):
        (moved,), _ = optimizer.stateless_apply(state, [ops.ones(1)], [value])
        after = [moved, value, variable, state[-1]]
        after = [float(ops.convert_to_numpy(each)[0]) for each in after]
        assert after == pytest.approx([0.9, 1, 1, 0])


def test_in_fit_it_decays_once_and_batch_norm_too(digits):
    x, y = digits[0][:32], digits[1][:32]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10, kernel_initializer="ones"),
        ]
    )
    # A loss without gradient leaves the decay alone.
    model.compile(
        SGD(0.1, momentum=0.9, weight_decay=0.1),
        loss=lambda y, f: ops.mean(f * 0.0, axis=-1),
    )
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    # Two steps: w1 = 0.99, v2 = 0.9 * 0.1 + 0.099, w2 = 0.99 - 0.1 * v2.
    expected = 0.99 - 0.1 * (0.9 * 0.1 + 0.1 * 0.99)
    for layer, name in ((2, "kernel"), (1, "gamma")):
        weight = getattr(model.layers[layer], name)
        np.testing.assert_allclose(
            ops.convert_to_numpy(weight), expected, rtol=1e-6
        )


def test_save_load_continues_the_velocity(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(SGD(0.1, 0.9, weight_decay=1e-3, nesterov=True), loss="mse")
    x, y = np.ones((8, 3)), np.ones((8, 2))
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for m in (model, loaded):
        m.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), loaded.predict(x, verbose=0)
    )


def test_bad_arguments():
    for momentum in (-0.1, 1.0):
        with pytest.raises(ValueError, match="Received: momentum="):
            SGD(momentum=momentum)
    for decay in (-1e-3, None):
        with pytest.raises(ValueError, match="Received: weight_decay="):
            SGD(weight_decay=decay)
