import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.theory import square_loss


@pytest.fixture
def problem(digits):
    """Few real digits of three classes, and a small network for them."""
    x, y = digits
    rows = np.flatnonzero(y < 3)[:24]
    model = nc_keras.models.HomogeneousNet((8, 8, 1), 3, widths=(12, 10))
    # With He's weights rho is 57, and the flow too fast to follow.
    model.set_weights([0.33 * kernel for kernel in model.get_weights()])
    return model, 0.3 * x[rows], y[rows]


def descend(model, x, y, steps):
    """Full-batch gradient descent, as one epoch of many steps."""
    batches = ((x, y) for _ in range(steps))
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)


def loss_of(rho, outputs, targets, decay):
    errors = rho * outputs - targets
    return np.sum(errors**2) / len(errors) + decay * rho**2


def test_rho_rate_is_minus_the_derivative_of_the_loss(rng):
    f, y = rng.normal(size=(7, 3)), np.eye(3)[np.arange(7) % 3]
    step = 1e-5
    slope = loss_of(1.3 + step, f, y, 0.2) - loss_of(1.3 - step, f, y, 0.2)
    rate = square_loss.rho_rate(1.3, f, y, 0.2)
    assert np.isclose(rate, -slope / (2 * step), rtol=1e-8)


def test_equilibrium_is_where_rho_rests(rng):
    f, y = rng.normal(size=(7, 3)), np.eye(3)[np.arange(7) % 3]
    rho = square_loss.equilibrium_rho(f, y, 0.2)
    assert abs(square_loss.rho_rate(rho, f, y, 0.2)) < 1e-14


def test_equal_margins():
    mu, decay = 0.4, 0.05
    signs = np.array([[1.0], [-1.0], [1.0]])
    rho = square_loss.equilibrium_rho(mu * signs, signs, decay)
    share = decay / (mu**2 + decay)
    assert np.isclose(rho, mu / (mu**2 + decay))
    assert np.isclose(1 - rho * mu, share)
    assert np.isclose(loss_of(rho, mu * signs, signs, decay), share)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_training_follows_the_flow(problem, decay):
    model, x, y = problem
    time = 1.0
    flow = square_loss.flow(model, x, y, [0.0, time], decay)
    errors = []
    for steps in (100, 400):
        trained = nc_keras.models.Normalized(model, decay)
        trained.compile(
            nc_keras.optimizers.SGD(time / steps),
            loss=nc_keras.losses.MSE(class_reduction="sum"),
        )
        descend(trained, x, y, steps)
        reached = nc_keras.weights.rho(trained)
        errors.append(abs(reached - flow.rho[1]) / flow.rho[1])
        kernels = nc_keras.weights.weights_of(trained)
        for one, predicted in zip(kernels, flow.kernels, strict=True):
            distance = np.linalg.norm(one.kernel - predicted)
            assert distance < 1 / steps
    assert errors[1] < 1e-3
    assert abs(flow.rho[1] / flow.rho[0] - 1) > 10 * errors[1]
    # Euler's steps err in proportion to their length.
    assert 2.5 < errors[0] / errors[1] < 6


def test_flow_keeps_the_norms_and_loses_loss(problem):
    model, x, y = problem
    times = np.linspace(0, 4, 9)
    flow = square_loss.flow(model, x, y, times, 0.02, rtol=1e-5)
    norms = [np.linalg.norm(kernel) for kernel in flow.kernels]
    assert np.allclose(norms, 1.0, atol=1e-6)
    assert (np.diff(flow.loss) < 0).all()
    gaps = np.abs(flow.rho / flow.equilibrium - 1)
    assert gaps[-1] < gaps[0] / 4


def test_directions_move_as_the_projected_gradient(problem):
    """V' against finite differences of the loss by each V_k."""
    model, x, y = problem
    weights = nc_keras.weights.homogeneous_weights(model)
    network = square_loss._Network(model, weights, x, y, 0.1)
    kernels = [(w.kernel / w.norm).ravel() for w in weights]
    state = np.concatenate([[1.7], *kernels])

    def loss(state):
        outputs = network._forward(network._split(state))[-1]
        return loss_of(state[0], outputs, network._targets, 0.1)

    step, gradient = 1e-6, np.zeros_like(state)
    for index in range(len(state)):
        shift = np.zeros_like(state)
        shift[index] = step
        gradient[index] = loss(state + shift) - loss(state - shift)
    gradient /= 2 * step
    expected, begin = [-gradient[0]], 1
    for kernel in kernels:
        part = -gradient[begin : begin + kernel.size]
        expected = [*expected, *(part - kernel * (kernel @ part))]
        begin += kernel.size
    assert np.allclose(network.rate(state), expected, atol=1e-7)


def test_leaky_relu_and_single_output(rng):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, use_bias=False)(inputs)
    x = keras.layers.LeakyReLU(0.25)(x)
    x = keras.layers.Dense(5, use_bias=False, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(x))
    x = rng.normal(size=(6, 4)).astype("float32")
    flow = square_loss.flow(model, x, [1, -1, 1, -1, 1, -1], [0.0, 0.1])
    predicted = flow.rho[0] * flow.outputs[0]
    expected = model.predict(x, verbose=0)
    assert np.allclose(predicted, expected, atol=1e-5)


def test_a_sequential_or_normalised_network_has_the_same_flow(problem):
    model, x, y = problem
    layers = [keras.layers.Flatten()]
    for width in (12, 10, 3):
        layers.append(keras.layers.Dense(width, use_bias=False))
        layers.append(keras.layers.ReLU())
    same = keras.Sequential([keras.Input((8, 8, 1)), *layers[:-1]])
    same.set_weights(model.get_weights())
    normalized = nc_keras.models.Normalized(model)
    flows = [
        square_loss.flow(one, x, y, [0.0, 0.2], 0.1)
        for one in (model, same, normalized)
    ]
    assert np.isclose(flows[0].rho[1], flows[1].rho[1], rtol=1e-9)
    assert np.isclose(flows[0].rho[1], flows[2].rho[1], rtol=1e-5)


def test_what_is_no_dense_layer_is_named(problem):
    model, x, y = problem
    scaled = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Rescaling(2.0), model]
    )
    with pytest.raises(ValueError, match="of type Rescaling"):
        square_loss.flow(scaled, x, y, [0.0, 1.0])


def test_stationarity_vanishes_where_training_converged(problem):
    """At a stationary point all norms are equal, and the relation holds."""
    model, x, y = problem
    decay = 0.02
    model.compile(
        nc_keras.optimizers.SGD(0.1, weight_decay=2 * decay, momentum=0.9),
        loss=nc_keras.losses.MSE(class_reduction="sum"),
    )
    targets = np.eye(3)[y]

    def distance():
        norms = [one.norm for one in nc_keras.weights.weights_of(model)]
        outputs = model.predict(x, verbose=0)
        return square_loss.stationarity(norms, outputs, targets, decay), norms

    before, _ = distance()
    descend(model, x, y, 1500)
    after, norms = distance()
    # Slow directions are on their way still: 500 to 3000 times as near.
    assert after < before / 100
    # Each of the 1500 steps rounds a norm by less than float32's 6e-8.
    assert np.ptp(norms) < 1e-4 * np.mean(norms)


def test_bad_input_is_refused(problem, rng):
    model, x, y = problem
    f, targets = rng.normal(size=(4, 2)), np.eye(2)[[0, 1, 0, 1]]
    assert np.isnan(square_loss.equilibrium_rho(0 * f, targets))
    with pytest.raises(ValueError, match="decay=-1"):
        square_loss.rho_rate(1.0, f, targets, -1)
    with pytest.raises(ValueError, match="one shape"):
        square_loss.equilibrium_rho(f, targets[:3])
    with pytest.raises(ValueError, match="decay=-0.1"):
        square_loss.flow(model, x, y, [0.0, 1.0], -0.1)
    with pytest.raises(ValueError, match="one label for each example"):
        square_loss.flow(model, x, y[:5], [0.0, 1.0])
    conv = nc_keras.models.HomogeneousNet((8, 8, 1), 3, filters=(4,))
    with pytest.raises(ValueError, match="layer 'conv_1' with a kernel"):
        square_loss.flow(conv, x, y, [0.0, 1.0])
    with pytest.raises(ValueError, match="layer 'dense"):
        biased = nc_keras.models.MLP((8, 8, 1), 3, (4,), use_batch_norm=False)
        square_loss.flow(biased, x, y, [0.0, 1.0])
