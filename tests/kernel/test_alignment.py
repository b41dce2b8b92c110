import json
import pathlib

import numpy as np
import pytest

from nc_keras.kernel import alignment
from nc_keras.kernel import cka
from nc_keras.kernel import infinite
from nc_keras.kernel.residual import curvature_root
from nc_keras.kernel.residual import probabilities

DATA = pathlib.Path(__file__).parents[1] / "data/kernel.json"


@pytest.fixture(scope="module")
def reference():
    return json.loads(DATA.read_text())


def of(reference, outputs):
    full = np.array(reference["gram_full"])
    grid = full.reshape(12, 4, 12, 4)
    kernels = {
        "full": full,
        "each": np.einsum("ncmc->cnm", grid),
        "trace": np.einsum("ncmc->nm", grid) / 4,
    }
    y, f = np.array(reference["y"]), np.array(reference["outputs"])
    ks = reference["ks_full" if outputs == "full" else "ks"]
    return alignment(kernels[outputs], y, f, f - np.eye(4)[y], ks)


def close(found, expected):
    # The reference has twelve digits.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize(
    "name", ["labels", "centred_labels", "outputs", "residual"]
)
def test_energies_of_the_reference(reference, outputs, name):
    found = of(reference, outputs)
    close(getattr(found, name), reference[f"energy_{outputs}"][name])


def test_other_values_of_the_reference(reference):
    found = of(reference, "trace")
    close(found.centred_kta, reference["ckta_trace"])
    close(found.kta, reference["alignment_uncentred"])
    names = ("gamma_d", "gamma_c", "gamma_n", "within", "between", "constant")
    blocks = [getattr(found.blocks, name) for name in names]
    close(blocks, list(reference["blocks"].values()))
    close(
        of(reference, "each").centred_labels,
        reference["energy_per_output_centred_labels"],
    )
    full = of(reference, "full")
    close(full.baratin, reference["alignment_baratin"])
    close(full.trace, reference["trace_full"])
    close(full.eigenvalues[:5], reference["eigenvalues_full"][:5])
    for other in (found, of(reference, "each"), full):
        close(other.centred_kta, found.centred_kta)
        close(other.blocks.gamma_c, found.blocks.gamma_c)


def block(classes=4, size=5, d=3.0, c=2.0, n=0.5):
    same = np.kron(np.eye(classes), np.ones((size, size)))
    kernel = n + (c - n) * same + (d - c) * np.eye(classes * size)
    return kernel, np.repeat(np.arange(classes), size)


def test_a_kernel_of_blocks():
    kernel, y = block()
    found = alignment(kernel, y, k=[1, 2, 3, 4, 10, 20])
    expected = np.repeat([18.5, 8.5, 1.0], [1, 3, 16])
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-12)
    # Between equal eigenvalues, the eigenvectors are a matter of taste.
    assert np.isnan(found.labels[[1, 2, 4]]).all()
    close(found.labels[[0, 3, 5]], [0.25, 1, 1])
    close(found.centred_labels[[0, 3, 5]], [0, 1, 1])
    close(found.centred_kta, 0.965016431576)
    blocks = found.blocks
    close([blocks.within, blocks.between, blocks.constant], [1, 8.5, 18.5])
    close(blocks.r2, 1)
    close(found.effective_rank, 60 / 18.5)


def test_a_plateau_of_float32_is_one():
    kernel, y = block()
    noise = np.random.default_rng(0).normal(size=kernel.shape)
    kernel = kernel + 1e-7 * (noise + noise.T)
    found = alignment(kernel, y, k=[1, 2, 3, 4])
    assert np.isnan(found.labels).tolist() == [False, True, True, False]


def test_scales_and_bases_do_not_count(reference, rng):
    kernel = np.array(reference["gram_full"])
    y = np.array(reference["y"])
    f = rng.normal(size=(12, 4))
    found = alignment(kernel, y, f, k=[1, 8])
    again = alignment(7 * kernel, y, -3 * f, k=[1, 8])
    for name in ("labels", "outputs", "kta", "centred_kta", "baratin"):
        close(getattr(again, name), getattr(found, name))


def test_zeros_have_no_energy():
    kernel, y = block()
    zeros = np.zeros((20, 4))
    found = alignment(kernel, y, zeros, zeros)
    assert np.isnan(found.outputs).all() and np.isnan(found.residual).all()
    nothing = alignment(np.zeros((20, 20)), y)
    assert np.isnan([nothing.kta, nothing.centred_kta, nothing.blocks.r2]).all()


def test_regression_has_no_classes(rng):
    a = rng.normal(size=(6, 9))
    found = alignment(a @ a.T, rng.normal(size=6), k=6)
    assert found.blocks is None and found.ks == (1, 6)
    close(found.labels[-1], 1)
    close(found.edge(0.1, 2.0), 0.2 * found.lambda_max / 6)


def test_the_edge_needs_the_full_kernel(reference):
    full = of(reference, "full")
    close(full.edge(0.5), 0.5 * reference["eigenvalues_full"][0] / 12)
    with pytest.raises(ValueError, match="full kernel"):
        of(reference, "trace").edge(0.5)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"gram": np.ones((3, 4))}, "one of the shapes"),
        ({"gram": np.full((20, 20), np.nan)}, "must be finite"),
        ({"y": np.arange(20)[:7]}, "one of the shapes"),
        ({"y": np.full(20, -1)}, "not be negative"),
        ({"k": 21}, "`k` must be from 1 to 20"),
        ({"k": 0}, "`k` must be from 1 to 20"),
        ({"outputs": np.ones((20, 3))}, "`outputs` must be finite"),
        ({"residual": np.full((20, 4), np.inf)}, "`residual` must be"),
    ],
)
def test_what_is_refused(change, match):
    kernel, y = block()
    with pytest.raises(ValueError, match=match):
        alignment(**{"gram": kernel, "y": y} | change)


def test_infinite_networks_of_the_reference(reference):
    case = reference["infinite"]
    root = np.sqrt([case["sigma_w2"], case["sigma_b2"]])
    network = infinite(case["hidden_layers"], *root)
    close(network.covariance(case["X"]), case["nngp"])
    # The reference takes the arc cosine of what is 1 but for rounding.
    tangent = network.tangent(case["X"])
    np.testing.assert_allclose(tangent, case["ntk"], rtol=0, atol=1e-7)
    size = network.covariance(case["X"]).diagonal()
    for row in tangent:
        assert np.isfinite(row).all()
    assert (np.linalg.eigvalsh(tangent) > 0).all() and (size > 0).all()


def test_an_infinite_network_predicts(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    network = infinite(2, sigma_b=0.1)
    np.testing.assert_allclose(network.predict(x, y, x), y, atol=1e-8)
    flat = network.predict(x, y, x, ridge=1e6)
    assert np.abs(flat).max() < 1e-4
    other = network.predict(x, y, x[:2], kernel="covariance")
    np.testing.assert_allclose(other, y[:2], atol=1e-8)
    twice = np.concatenate([x, x[:1]])
    with pytest.raises(ValueError, match="singular|ridge"):
        network.predict(twice, np.zeros(len(twice)), x)
    for bad in ({"depth": -1}, {"depth": 1, "sigma_w": 0}):
        with pytest.raises(ValueError, match="must not be negative"):
            infinite(**bad)


def test_cka(rng):
    a, b = rng.normal(size=(20, 3)), rng.normal(size=(20, 30))
    kernels = [(m - m.mean(0)) @ (m - m.mean(0)).T for m in (a, b)]
    inner = np.sum(kernels[0] * kernels[1])
    expected = inner / np.prod([np.linalg.norm(k) for k in kernels])
    close(cka(a, b), expected)
    close(cka(b, a), expected)
    turned = 2 * a @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 5
    close(cka(a, turned), 1)
    assert np.isnan(cka(np.ones((4, 2)), a[:4]))
    with pytest.raises(ValueError, match="same examples"):
        cka(a, b[:5])


def test_the_curvature_of_cross_entropy(rng):
    logits = rng.normal(size=(3, 4))
    root = curvature_root(("ce", 1.0), logits)
    step = 1e-5 * np.eye(4)
    for f, r in zip(logits, root, strict=True):
        numeric = [
            (probabilities(f[None] + s) - probabilities(f[None] - s))[0] / 2e-5
            for s in step
        ]
        np.testing.assert_allclose(r @ r, numeric, atol=1e-9)
