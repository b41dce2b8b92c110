import keras
import numpy as np
import pytest

import nc_keras
from nc_keras import kernel
from nc_keras.kernel.lanczos import lanczos
from tests.kernel.networks import drawn

if keras.backend.backend() == "numpy":
    pytest.skip("NumPy has no gradients", allow_module_level=True)


@pytest.fixture(scope="module")
def case():
    model, x = drawn("conv")
    return model, x, kernel.gram(model, x, "full").values


@pytest.mark.parametrize("size, k", [(1, 1), (5, 5), (60, 7)])
def test_lanczos_beside_eigh(rng, size, k):
    a = rng.normal(size=(size, size))
    matrix = a @ a.T
    values, vectors, residuals = lanczos(matrix.dot, size, k, 1e-12)
    expected = np.linalg.eigvalsh(matrix)[::-1][:k]
    np.testing.assert_allclose(values, expected, rtol=1e-10)
    left = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    assert (left <= 1e-10 * expected[0]).all() and len(residuals) == k
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-10)


def test_lanczos_finds_equal_eigenvalues():
    matrix = np.diag([3.0, 3.0, 3.0, 1.0, 0.0, 0.0])
    values, vectors, _ = lanczos(matrix.dot, 6, 4)
    np.testing.assert_allclose(values, [3, 3, 3, 1], atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-9)


def test_the_top_is_that_of_the_kernel(case):
    model, x, full = case
    values, vectors = np.linalg.eigh(full)
    found = kernel.top(model, x, 3, batch_size=2)
    # Products in float32.
    np.testing.assert_allclose(found.eigenvalues, values[:-4:-1], rtol=1e-4)
    overlap = np.abs(found.eigenvectors[:, 0] @ vectors[:, -1])
    assert overlap == pytest.approx(1, abs=1e-4)
    trace = kernel.top(model, x, 2, "trace")
    expected = np.linalg.eigvalsh(kernel.gram(model, x).values)[::-1][:2]
    np.testing.assert_allclose(trace.eigenvalues, expected, rtol=1e-4)


def test_estimates_hold_what_they_estimate(case):
    model, x, full = case
    trace = kernel.trace_of(model, x, samples=40)
    assert abs(trace.value - np.trace(full)) < 5 * trace.error
    square = kernel.frobenius_of(model, x, samples=40)
    assert abs(square.value - np.sum(full**2)) < 5 * square.error


def test_rayleigh_quotients_are_those_of_the_kernel(case):
    model, x, full = case
    y = np.arange(5) % 3
    labels = np.eye(3)[y]
    logits = model.predict(x, verbose=0).astype(float)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for loss, residual in (("mse", logits - labels), ("ce", softmax - labels)):
        found = kernel.rayleigh(model, x, y, loss)
        for name, vector in (
            ("labels", labels),
            ("centred_labels", labels - labels.mean(axis=0)),
            ("residual", residual),
        ):
            v = vector.reshape(-1)
            expected = v @ full @ v / (v @ v)
            assert getattr(found, name) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "loss, expected",
    [
        (nc_keras.losses.MSE("sum"), ("mse", 2.0)),
        (nc_keras.losses.MSE(), ("mse", 2 / 3)),
        ("mse", ("mse", 2 / 3)),
        (nc_keras.losses.CE(), ("ce", 1.0)),
        ("sparse_categorical_crossentropy", ("ce", 1.0)),
        ("hinge", None),
    ],
)
def test_losses_and_their_scales(case, loss, expected):
    model = case[0]
    model.compile("sgd", loss=loss)
    assert kernel.residual.kind_of(model, 3) == expected


def test_what_is_refused(case):
    model, x, _ = case
    with pytest.raises(ValueError, match="from 1 to 15"):
        kernel.top(model, x, 16)
    with pytest.raises(ValueError, match="one label per example"):
        kernel.rayleigh(model, x, np.arange(4) % 3, "mse")
    with pytest.raises(ValueError, match="two samples"):
        kernel.trace_of(model, x, samples=1)
    with pytest.raises(ValueError, match="`loss` must be"):
        kernel.rayleigh(model, x, np.arange(5) % 3, "hinge")
