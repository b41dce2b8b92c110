"""Draws the scenarios of tests/data/collapse_metrics.json."""

import json
import pathlib

import numpy as np

_FILE = pathlib.Path(__file__).parents[1] / "data" / "collapse_metrics.json"
SCENARIOS = json.loads(_FILE.read_text())
# Features within 1e-5 of their size of each other, in float32.
TOLERANCES = {"terminal": 1e-4}


def draw(name):
    """Features `[N, D]`, labels `[N]`, kernel `[D, C]`, bias `[C]`."""
    spec = SCENARIOS[name]["spec"]
    rng = np.random.default_rng(spec["seed"])
    classes, dim = len(spec["counts"]), spec["dim"]
    mu = rng.standard_normal((classes, dim)) + spec.get("offset", 0)
    y = np.repeat(np.arange(classes), spec["counts"])
    h = mu[y] + spec["spread"] * rng.standard_normal((len(y), dim))
    order = rng.permutation(len(y))
    weights = mu - mu.mean(0) + 0.3 * rng.standard_normal((classes, dim))
    bias = 0.1 * rng.standard_normal(classes)
    return (
        h[order].astype("float32"),
        y[order].astype("int32"),
        weights.astype("float32").T,
        bias.astype("float32"),
    )


def assert_close(values, expected, rtol, atol=1e-9):
    for tag, value in expected.items():
        np.testing.assert_allclose(
            values[tag], value, rtol=rtol, atol=atol, err_msg=tag
        )


def textbook(h, y, kernel, bias):
    """Every metric by its textbook formula, with D x D matrices and loops."""
    h, w = h.astype("float64"), kernel.astype("float64").T
    classes = range(len(w))
    count = len(w)
    mu = np.array([h[y == c].mean(0) for c in classes])
    m = mu - mu.mean(0)
    v = np.array(
        [np.mean(np.sum((h[y == c] - mu[c]) ** 2, 1)) for c in classes]
    )
    sigma_w = (h - mu[y]).T @ (h - mu[y]) / len(h)
    sigma_b = m.T @ m / count
    values, vectors = np.linalg.eigh(sigma_b)
    rank = min(count - 1, h.shape[1])
    keep = slice(len(values) - rank, None)
    inverse = vectors[:, keep] / values[keep] @ vectors[:, keep].T
    phi = (np.eye(count) - 1 / count) / np.sqrt(count - 1)
    pairs = [(a, b) for a in classes for b in classes if a != b]

    def cosine(rows, a, b):
        norms = np.linalg.norm(rows[a]) * np.linalg.norm(rows[b])
        return rows[a] @ rows[b] / norms

    def etf(gram):
        return np.linalg.norm(gram / np.linalg.norm(gram) - phi)

    decisions = np.argmax(h @ w.T + bias, 1)
    nearest = [np.argmin([np.sum((x - c) ** 2) for c in mu]) for x in h]
    expected = {
        "nc1": np.trace(sigma_w @ inverse) / count,
        "nc1_trace_ratio": np.trace(sigma_w) / np.trace(sigma_b),
        "nc1_cdnv": np.mean(
            [
                (v[a] + v[b]) / (2 * np.sum((mu[a] - mu[b]) ** 2))
                for a, b in pairs
            ]
        ),
        "nc3": np.linalg.norm(w / np.linalg.norm(w) - m / np.linalg.norm(m))
        ** 2,
        "nc3_duality": etf(w @ m.T),
        "nc4": np.mean(decisions != nearest),
        "nc0": np.linalg.norm(w.sum(0)),
        "accuracy": np.mean(decisions == y),
    }
    for name, rows in (("means", m), ("weights", w)):
        norms = np.linalg.norm(rows, axis=1)
        cosines = np.array([cosine(rows, a, b) for a, b in pairs])
        expected |= {
            f"nc2_equinorm_{name}": norms.std(ddof=1) / norms.mean(),
            f"nc2_equiangular_{name}": cosines.std(),
            f"nc2_max_angle_{name}": np.abs(cosines + 1 / (count - 1)).mean(),
            f"nc2_etf_{name}": etf(rows @ rows.T),
        }
    return expected
