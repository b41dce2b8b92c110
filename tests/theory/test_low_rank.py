import math

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.theory import low_rank


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("product", [1e-3, 0.05, 0.3])
def test_memory_is_how_long_weights_last(momentum, product):
    """Where gradients vanish, the optimizer's weights shrink as predicted."""
    rate, decay = 0.5, product / 0.5
    epsilon = 1e-6
    steps = low_rank.memory(rate, decay, epsilon, momentum)
    w, velocity, history = 1.0, 0.0, []
    for _ in range(3 * int(steps)):
        velocity = momentum * velocity + decay * w
        w -= rate * velocity
        history.append(abs(w))
    # Of an oscillation the envelope counts: the largest of what follows.
    tail = np.maximum.accumulate(history[::-1])[::-1]
    share = tail[2 * int(steps)] / tail[int(steps)]
    assert math.isclose(math.log(share), math.log(epsilon), rel_tol=0.05)


def test_the_optimizer_has_this_update():
    optimizer = nc_keras.optimizers.SGD(0.5, 0.9, weight_decay=0.02)
    w = keras.Variable(np.ones((1,), "float32"))
    values = []
    for _ in range(3):
        optimizer.apply([np.zeros((1,), "float32")], [w])
        values.append(float(keras.ops.convert_to_numpy(w)[0]))
    v1 = 0.02
    w1 = 1 - 0.5 * v1
    v2 = 0.9 * v1 + 0.02 * w1
    assert np.allclose(values[:2], [w1, w1 - 0.5 * v2], rtol=1e-6)


def test_unrolled_update_leaves_the_rank_of_the_last_batches(rng):
    """W_T minus what it remembers of W_{T-n} has rank n B, exactly."""
    rate, decay, batch, steps = 0.1, 0.5, 2, 5
    start = w = rng.normal(size=(20, 30))
    for _ in range(steps):
        gradient = rng.normal(size=(20, batch)) @ rng.normal(size=(batch, 30))
        w = (1 - rate * decay) * w - rate * gradient
    rest = w - (1 - rate * decay) ** steps * start
    assert nc_keras.weights.ranks(rest, 1e-10).numerical == batch * steps


def test_bound_moves_with_batch_rate_and_decay():
    bound = low_rank.rank_bound
    assert bound(8, 0.1, 0.01) == 2 * bound(4, 0.1, 0.01)
    assert bound(4, 0.2, 0.01) < bound(4, 0.1, 0.01)
    assert bound(4, 0.1, 0.02) < bound(4, 0.1, 0.01)
    assert bound(4, 0.1, 0.01, positions=9) == 9 * bound(4, 0.1, 0.01)
    # Momentum makes the steps longer.
    assert bound(4, 0.1, 1e-4, momentum=0.9) < bound(4, 0.1, 1e-4) / 9
    assert bound(4, 0.1, 0.0) == bound(4, 0.0, 0.1) == math.inf


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((-0.1, 0.1), "learning_rate=-0.1"),
        ((0.1, -0.1), "weight_decay=-0.1"),
        ((1.0, 1.5), "more than all of a weight"),
        ((1.0, 4.0, 1e-3, 0.9), "diverge"),
        ((0.1, 0.1, 2.0), "epsilon=2.0"),
    ],
)
def test_bad_numbers_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        low_rank.memory(*arguments)


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        low_rank.rank_bound(0, 0.1, 0.1)
