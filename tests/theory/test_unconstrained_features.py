"""Closed forms against optimisation: of a Keras model, and of formulas."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.theory import unconstrained_features as theory

K, N, DIM = 4, 3, 6
DECAYS = (3e-2, 6e-2)


def focal(y_true, y_pred):
    log = keras.ops.log_softmax(y_pred)
    log = keras.ops.sum(log * keras.ops.one_hot(y_true, K), axis=-1)
    return -((1 - keras.ops.exp(log)) ** 2) * log


CASES = {
    "ce": (nc_keras.losses.CE(), theory.cross_entropy(K, N, *DECAYS), 0.0),
    "label_smoothing": (
        nc_keras.losses.CE(label_smoothing=0.1),
        theory.cross_entropy(K, N, *DECAYS, label_smoothing=0.1),
        0.0,
    ),
    "focal": (focal, theory.focal(K, N, *DECAYS, gamma=2.0), 0.0),
}
for bias_decay, reduction in ((None, "sum"), (0.0, "mean"), (0.5, "sum")):
    CASES[f"mse_{reduction}_{bias_decay}"] = (
        nc_keras.losses.MSE(reduction),
        theory.mean_squared_error(
            K, N, *DECAYS, bias_decay, class_reduction=reduction
        ),
        bias_decay,
    )


def trained(loss, bias_decay, examples=N, steps=2000):
    keras.utils.set_random_seed(0)
    model = nc_keras.models.UnconstrainedFeatures(
        K, examples, DIM, *DECAYS, bias_decay=bias_decay
    )
    model.compile(
        nc_keras.optimizers.SGD(0.3, momentum=0.95),
        loss=loss,
        steps_per_execution=200,
    )
    y = np.repeat(np.arange(K), examples)
    x = np.arange(len(y))
    # One epoch of many full batches spares what an epoch costs.
    model.fit(
        np.tile(x, steps),
        np.tile(y, steps),
        batch_size=len(y),
        shuffle=False,
        verbose=0,
    )
    return model, x, y


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow makes many steps at once",
)
@pytest.mark.parametrize("name", CASES)
def test_a_trained_model_reaches_the_closed_form(name):
    loss, best, bias_decay = CASES[name]
    model, x, y = trained(loss, bias_decay)
    features, kernel, *bias = (np.float64(w) for w in model.get_weights())
    outputs = features @ kernel + (bias[0] if bias else 0)
    margins = outputs[x, y][:, None] - outputs[outputs < np.inf].reshape(-1, K)
    margins = np.sort(margins, axis=1)[:, 1:]
    norms = np.linalg.norm(kernel, axis=0)
    tolerance = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(margins, best.margin, **tolerance)
    np.testing.assert_allclose(norms, best.weight_norm, **tolerance)
    np.testing.assert_allclose(
        np.linalg.norm(features, axis=1), best.feature_norm, **tolerance
    )
    if bias and name.startswith("mse"):
        np.testing.assert_allclose(bias[0], best.bias, rtol=1e-4, atol=1e-5)
    value = model.evaluate(x, y, batch_size=K * N, verbose=0)
    assert value == pytest.approx(best.loss, rel=1e-5)
    cosines = (kernel.T @ kernel) / np.outer(norms, norms)
    off = cosines[~np.eye(K, dtype=bool)]
    assert np.allclose(off, -1 / (K - 1), atol=1e-4) == best.is_simplex


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="only TensorFlow makes many steps at once",
)
def test_a_model_of_unequal_classes_reaches_its_minimiser():
    counts = [6, 3, 3, 1]
    model, x, y = trained(nc_keras.losses.CE(), None, counts)
    features, kernel = (np.float64(w) for w in model.get_weights())
    best = theory.cross_entropy(K, counts, *DECAYS)
    value = model.evaluate(x, y, batch_size=len(y), verbose=0)
    assert value == pytest.approx(best.loss, rel=1e-5)
    tolerance = {"rtol": 0, "atol": 1e-3 * best.weight_gram.max()}
    np.testing.assert_allclose(kernel.T @ kernel, best.weight_gram, **tolerance)
    expected = best.feature_gram[np.ix_(y, y)]
    tolerance = {"rtol": 0, "atol": 1e-3 * expected.max()}
    np.testing.assert_allclose(features @ features.T, expected, **tolerance)


@pytest.mark.parametrize("examples", [[3, 3, 3], [], [[3, 3, 3, 3]]])
def test_a_model_needs_a_number_for_each_class(examples):
    with pytest.raises(ValueError, match="one for each class"):
        nc_keras.models.UnconstrainedFeatures(K, examples, DIM, *DECAYS)


@pytest.mark.parametrize("examples", [2.5, 0, [3, 3, 3, -1], [3, 3, 3, 0.5]])
def test_a_number_of_examples_is_a_positive_integer(examples):
    with pytest.raises(ValueError, match="must be (positive|integers)"):
        nc_keras.models.UnconstrainedFeatures(K, examples, DIM, *DECAYS)


def test_the_trivial_solution_wins_under_strong_decay():
    for best in (
        theory.cross_entropy(K, N, 1.0, 1.0),
        theory.focal(K, N, 1.0, 1.0),
        theory.mean_squared_error(K, N, 1.0, 1.0),
    ):
        assert best.is_trivial and not best.is_simplex
        assert best.margin == best.weight_norm == best.feature_norm == 0
    assert theory.cross_entropy(K, N, 1.0, 1.0).loss == pytest.approx(np.log(K))
    just_below = 0.999 / (K * np.sqrt(N))
    assert not theory.cross_entropy(K, N, just_below, just_below).is_trivial


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_focal_loss_by_brute_force(gamma):
    best = theory.focal(K, N, *DECAYS, gamma)
    rate = np.sqrt(N * DECAYS[0] * DECAYS[1])
    z = np.linspace(0, 20, 2_000_001)
    p = 1 / (1 + (K - 1) * np.exp(-z))
    values = -((1 - p) ** gamma) * np.log(p) + (K - 1) * rate * z
    assert best.margin == pytest.approx(z[values.argmin()], abs=2e-5)
    assert best.loss == pytest.approx(values.min(), rel=1e-9)
    if not gamma:
        ce = theory.cross_entropy(K, N, *DECAYS)
        assert best.margin == pytest.approx(ce.margin, rel=1e-6)


def test_smoothing_keeps_the_margin_finite():
    margins = [
        theory.cross_entropy(10, 100, d, d, label_smoothing=0.1).margin
        for d in (1e-4, 1e-8, 1e-12)
    ]
    assert margins[-1] == pytest.approx(np.log(10 / 0.1 - 10 + 1))
    assert margins == sorted(margins)


def test_bad_arguments():
    with pytest.raises(ValueError, match="Without decay"):
        theory.cross_entropy(K, N, 0.0, 1.0)
    with pytest.raises(ValueError, match="`label_smoothing` must be"):
        theory.cross_entropy(K, N, *DECAYS, label_smoothing=1.0)
    with pytest.raises(ValueError, match="`gamma` must not"):
        theory.focal(K, N, *DECAYS, gamma=-1.0)
    with pytest.raises(ValueError, match="`bias_decay` must not"):
        theory.mean_squared_error(K, N, *DECAYS, bias_decay=-1.0)
    with pytest.raises(ValueError, match="`class_reduction` must be one"):
        theory.mean_squared_error(K, N, *DECAYS, class_reduction="max")
    with pytest.raises(ValueError, match="At least two classes"):
        theory.cross_entropy(1, N, *DECAYS)
    with pytest.raises(ValueError, match="`target` must be positive"):
        theory.mean_squared_error(K, N, *DECAYS, target=0.0)
