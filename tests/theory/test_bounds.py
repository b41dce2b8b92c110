"""Bounds against the authors' code, and by hand."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.theory import bounds

GOLDEN = Path(__file__).parents[1] / "data" / "bounds.json"
CASES = json.loads(GOLDEN.read_text())["cases"]
Conv = keras.layers.Conv2D


def small(**options):
    options = {"filters": (3, 4), "widths": (6,), "kernel_size": 2} | options
    return nc_keras.models.HomogeneousNet((7, 8, 2), 5, **options)


def images(rng, count=20):
    return rng.uniform(size=(count, 7, 8, 2)).astype("float32")


def chain(*layers, shape=(7, 8, 2)):
    return keras.Sequential([keras.Input(shape), *layers])


def linear(layer, *args, **options):
    return layer(*args, use_bias=False, **options)


def authors_network(case, rng):
    """Their CONV-L-H, in Keras, with the weights of the golden file."""
    layers = []
    for _ in range(case["convolutions"]):
        conv = linear(Conv, case["filters"], 2, activation="relu")
        layers.append(nc_keras.layers.WeightNormalization(conv, "kernel"))
    layers += [keras.layers.Flatten(), linear(keras.layers.Dense, 10)]
    model = chain(*layers, shape=(28, 28, 1))
    for layer in [*layers[:-2], layers[-1]]:
        inner = getattr(layer, "layer", layer)
        kernel = rng.normal(size=inner.kernel.shape) * case["scale"]
        kernel = kernel.astype("float32")
        inner.kernel.assign(kernel)
        if inner is not layer:
            norm = np.linalg.norm(kernel.astype("float64"))
            layer.g.assign(np.full(layer.g.shape, norm, "float32"))
    return model


# JAX compiles every layer of every case on its own.
@pytest.mark.parametrize(
    "case",
    CASES[:1] if keras.backend.backend() == "jax" else CASES,
    ids=lambda case: str(case["seed"]),
)
def test_the_authors_code_gives_the_same(case):
    rng = np.random.default_rng(case["seed"])
    x = rng.uniform(size=(case["examples"], 28, 28, 1)).astype("float32")
    model = authors_network(case, rng)
    if not case["seed"]:
        # Eager convolutions take JAX seconds.
        outputs = keras.ops.convert_to_numpy(model(x[:1]))[0]
        scale = np.abs(case["outputs"]).max()
        np.testing.assert_allclose(outputs, case["outputs"], atol=1e-4 * scale)
    for bound in bounds.compare(model, x).bounds.values():
        if bound.name != "positions":
            assert bound.value == pytest.approx(case[bound.name], rel=1e-6)


def test_the_formulas_by_hand(rng):
    model, x = small(), images(rng)
    m, k, depth, delta = len(x), 5, 4, 0.01
    kernels = [np.float64(w) for w in model.get_weights()]
    norms = [np.sqrt((w**2).sum()) for w in kernels]
    squares = np.float64(x) ** 2
    pixel = np.sqrt(squares.sum(axis=(0, 3)).max())
    whole = np.sqrt(squares.sum())

    def bound(rho, logs, inputs):
        factor = 1 + np.sqrt(2 * (logs + np.log(k)))
        rest = 3 * np.sqrt(np.log(2 * (rho + 2) ** 2 / delta) / (2 * m))
        return (rho + 1) / m * 2 * np.sqrt(2) * factor * inputs + rest

    rho = np.prod(norms)
    # Two convolutions of 2x2 leave 2x2 positions of the 7x8.
    expected = {
        "convolutional": bound(rho, depth * np.log(2 * 4), pixel * 4),
        "positions": bound(
            rho, depth * np.log(2) + 3 * np.log(4), pixel * 4 * 2
        ),
        "dense": bound(rho * np.sqrt(4 * 4 * 2 * 2), depth * np.log(2), whole),
    }
    largest = [
        np.linalg.svd(w.reshape(-1, w.shape[-1]), compute_uv=False)[0]
        for w in kernels
    ]
    parameters = sum(w.size for w in kernels)
    expected["spectral"] = depth * np.prod(largest) ** (1 / depth) * np.sqrt(
        parameters / m
    ) + np.sqrt(np.log(1 / delta) / m)
    found = bounds.compare(model, x, delta=delta).bounds
    assert list(found) == list(expected)
    for name, bound in found.items():
        assert bound.value == pytest.approx(expected[name], rel=1e-6)
        assert math.prod(bound.factors.values()) == bound.product
        assert bound.product + bound.confidence == bound.value


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides, dilation", [(1, 1), (2, 1), (1, 2)])
def test_the_norm_of_a_toeplitz_matrix(padding, strides, dilation):
    conv = linear(
        Conv, 3, (2, 3), strides, padding=padding, dilation_rate=dilation
    )
    model = chain(conv, keras.layers.Flatten(), linear(keras.layers.Dense, 2))
    basis = np.eye(7 * 8 * 2, dtype="float32").reshape(-1, 7, 8, 2)
    matrix = keras.ops.convert_to_numpy(conv(basis))
    norm = bounds.fully_connected(model, basis).norms[conv.name]
    if padding == "valid":
        assert np.linalg.norm(matrix) == pytest.approx(norm, rel=1e-5)
    else:
        assert 0.5 * norm < np.linalg.norm(matrix) < 0.999 * norm


def test_linear_networks_need_the_positions():
    """`<v, w x>` with one filter `w` of 1x1 has a known complexity."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (200, 28, 28, 1)).astype("float32")
    model = chain(
        linear(Conv, 1, 1),
        keras.layers.Flatten(),
        linear(keras.layers.Dense, 1),
        shape=(28, 28, 1),
    )
    signs = rng.choice([-1.0, 1.0], (50, len(x)))
    # The mean over signs of sup |sum_i sign_i f(x_i)| over all with rho = 1.
    reached = np.linalg.norm(signs @ x.reshape(len(x), -1), axis=1).mean()

    def claimed(**options):
        factors = bounds.convolutional(model, x, **options).factors
        leave = ("rho + 1", "2 sqrt(2)", "1 / m")
        return math.prod(v for k, v in factors.items() if k not in leave)

    assert claimed() < 0.5 * reached
    assert claimed(positions=True) > reached


def test_scaling_inputs_and_weights(rng):
    model, x = small(), images(rng)
    before = bounds.convolutional(model, x)
    after = bounds.convolutional(model, 3 * x)
    ratio = after.factors["inputs"] / before.factors["inputs"]
    assert ratio == pytest.approx(3, rel=1e-6)
    kernel = model.get_layer("conv_2").kernel
    kernel.assign(2 * kernel)
    after = bounds.convolutional(model, x)
    rho, twice = (b.factors["rho + 1"] - 1 for b in (before, after))
    assert twice == pytest.approx(2 * rho, rel=1e-6)
    assert twice == pytest.approx(nc_keras.weights.rho(model), rel=1e-9)


def test_more_examples_of_a_kind(rng):
    model, x = small(), images(rng)
    few = bounds.convolutional(model, x)
    many = bounds.convolutional(model, np.concatenate([x] * 9))
    assert many.value == pytest.approx(few.value / 3, rel=1e-6)
    assert many.examples_needed == pytest.approx(few.examples_needed, rel=1e-6)


def test_preprocessing_and_nesting(rng):
    inner, x = small(), images(rng)
    images_of_bytes = np.round(255 * x).astype("uint8")
    outer = chain(keras.layers.Rescaling(1 / 255), inner)
    again = keras.Model(inputs := keras.Input((7, 8, 2)), outer(inputs))
    rho = nc_keras.weights.rho(inner)
    for model in (outer, again):
        assert nc_keras.weights.rho(model) == pytest.approx(rho, rel=1e-12)
        one = bounds.inputs_of(model, images_of_bytes)
        two = bounds.inputs_of(inner, images_of_bytes / 255)
        assert one.examples == two.examples
        np.testing.assert_allclose(
            (one.largest, one.total), (two.largest, two.total), rtol=1e-6
        )
        assert bounds.fully_connected(model, one).value == pytest.approx(
            bounds.fully_connected(inner, two).value, rel=1e-6
        )


def test_normalised_networks_have_the_same_bounds(rng):
    model, x = small(), images(rng)
    before = bounds.compare(model, x).bounds
    normalized = nc_keras.models.Normalized(model)
    after = bounds.compare(normalized, x).bounds
    assert before["dense"].norms.keys() < after["dense"].norms.keys()
    for name in ("convolutional", "positions", "dense"):
        assert after[name].value == pytest.approx(before[name].value, rel=1e-5)
    # One parameter more, and g is not trained.
    more = after["spectral"].value / before["spectral"].value
    assert 1 < more < 1.01


@pytest.mark.parametrize("form", ["batches", "PyDataset", "pair", "array"])
def test_every_form_of_data(rng, form):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return x[5 * index :][:5], y[5 * index :][:5]

    model, x, y = small(), images(rng), np.arange(20) % 5
    data = {
        "batches": [(x[:12], y[:12]), (x[12:], y[12:])],
        "PyDataset": Batches(),
        "pair": (x, y),
        "array": x,
    }[form]
    found = bounds.compare(model, data, (x[:5], np.eye(5)[y[:5]]))
    expected = bounds.convolutional(model, x, 1e-3)
    value = found.bounds["convolutional"].value
    assert value == pytest.approx(expected.value, rel=1e-6)
    assert ("training_error" in found.measured) == (form != "array")
    with pytest.raises(ValueError, match="are read twice"):
        bounds.compare(model, iter([(x, y)]))


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow convolves channels first on a GPU only",
)
def test_channels_first(rng):
    x = images(rng)
    moved = np.moveaxis(x, -1, 1)
    shapes = {"channels_last": (7, 8, 2), "channels_first": (2, 7, 8)}
    kernels = [rng.normal(size=s) for s in ((2, 3, 2, 3), (108, 4))]
    found = []
    for data_format, shape in shapes.items():
        conv = linear(Conv, 3, (2, 3), data_format=data_format)
        dense = linear(keras.layers.Dense, 4)
        model = chain(conv, keras.layers.Flatten(), dense, shape=shape)
        model.set_weights(kernels)
        data = x if shape == (7, 8, 2) else moved
        found.append(bounds.compare(model, data).bounds)
    for name, bound in found[0].items():
        assert bound.value == pytest.approx(found[1][name].value, rel=1e-6)


def test_errors_and_margins():
    model = chain(linear(keras.layers.Dense, 2), shape=(2,))
    model.layers[0].kernel.assign(np.eye(2))
    x = np.array([[3.0, 0.0], [1.5, 0.5], [0.0, 0.9], [2.0, 0.0]])
    found = bounds.compare(model, (x, [0, 0, 1, 1]), (x[:1], [0]))
    assert found.measured == {
        "training_error": 0.25,
        "margin_error": 0.75,
        "test_error": 0.0,
        "gap": -0.25,
    }
    # A first layer that is dense sees one pixel.
    inputs = bounds.inputs_of(model, x)
    assert inputs.largest == inputs.total == pytest.approx(np.sum(x**2))


def test_bounds_that_are_not_vacuous():
    model = small()
    for weight in model.weights:
        weight.assign(weight * 0.02)
    inputs = bounds.Inputs(10**7, 1.0, 100.0)
    bound = bounds.convolutional(model, inputs)
    assert bound.value < 0.05 and not bound.is_vacuous
    assert "Not vacuous" in str(bound)


def test_tables(rng):
    model, x = small(), images(rng)
    found = bounds.compare(
        model, (x, np.arange(20) % 5), (x, np.arange(20) % 5)
    )
    text = str(found)
    for bound in found.bounds.values():
        assert f"{bound.value:.4g}" in text
        for table in (text, str(bound)):
            assert max(map(len, table.splitlines())) <= 80
            for name, value in (bound.norms | bound.factors).items():
                assert name in table
                assert f"{value:.4g}" in table
    assert "orders of magnitude below the dense one" in text
    assert "Measured: training error" in text
    alone = str(found.bounds["convolutional"])
    assert "the 4 positions that the dense" in alone
    assert "Largest factor: rho + 1." in alone
    assert "positions" not in str(found.bounds["positions"]).split("\n\n")[-1]


def test_extremes(rng):
    model, inputs = small(), bounds.Inputs(10, 1.0, 2.0)
    head = model.get_layer("head").kernel
    head.assign(head * 0)
    bound = bounds.convolutional(model, inputs)
    assert bound.factors["rho + 1"] == 1.0
    assert bounds.spectral(model, inputs).value == pytest.approx(
        np.sqrt(np.log(1000) / 10)
    )
    assert "-inf" in str(bound)
    layers = [linear(keras.layers.Dense, 3, name=f"d{i}") for i in range(10)]
    model = chain(*layers, shape=(3,))
    for layer in layers:
        layer.kernel.assign(np.full((3, 3), 1e37))
    bound = bounds.convolutional(model, inputs)
    assert bound.value == math.inf and bound.is_vacuous
    # 3 sqrt(log(2 rho^2 / delta) / 2m) is finite all the same.
    logs = np.log(2000) + 20 * np.log(3e37)
    assert bound.confidence == pytest.approx(3 * np.sqrt(logs / 20), rel=1e-6)
    assert "inf" in str(bound)


def branched():
    inputs = keras.Input((7, 8, 2))
    x = linear(Conv, 2, 1, name="first")(inputs)
    x = keras.layers.Flatten()(keras.layers.Add(name="sum")([x, inputs]))
    return keras.Model(inputs, linear(keras.layers.Dense, 2)(x))


REFUSED = {
    "bias": lambda: (Conv(2, 2, name="it"),),
    "BatchNormalization": lambda: (
        linear(Conv, 2, 2),
        keras.layers.BatchNormalization(name="it"),
    ),
    "4 groups": lambda: (
        linear(Conv, 4, 2),
        linear(Conv, 4, 2, groups=4, name="it"),
    ),
    "not made": lambda: (
        linear(Conv, 2, 2),
        keras.layers.MaxPooling2D(name="it"),
    ),
    "many positions": lambda: (
        linear(Conv, 2, 2),
        linear(keras.layers.Dense, 2, name="it"),
    ),
    "learns, in front": lambda: (
        keras.layers.BatchNormalization(name="it"),
        linear(Conv, 2, 2),
    ),
    "slope of 2": lambda: (
        linear(Conv, 2, 2),
        keras.layers.LeakyReLU(2.0, name="it"),
    ),
    "activation tanh": lambda: (
        linear(Conv, 2, 2, activation="tanh", name="it"),
    ),
    "DepthwiseConv2D": lambda: (
        linear(Conv, 2, 2),
        linear(keras.layers.DepthwiseConv2D, 2, name="it"),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_layers_that_are_not_covered_are_named(reason):
    head = linear(keras.layers.Dense, 2)
    model = chain(*REFUSED[reason](), keras.layers.Flatten(), head)
    with pytest.raises(ValueError, match=f"layer 'it'.*{reason}"):
        bounds.spectral(model, bounds.Inputs(10, 1.0, 2.0))


def test_models_that_are_not_covered():
    inputs = bounds.Inputs(10, 1.0, 2.0)
    with pytest.raises(ValueError, match="layer 'sum'.*joins several"):
        bounds.convolutional(branched(), inputs)
    with pytest.raises(ValueError, match="'last'.*no dense layer behind"):
        last = linear(Conv, 2, 2, name="last")
        bounds.convolutional(chain(last, keras.layers.Flatten()), inputs)
    with pytest.raises(ValueError, match="'conv'.*no fixed size"):
        conv = linear(Conv, 2, 2, name="conv")
        flat = keras.layers.Reshape((24,))
        dense = linear(keras.layers.Dense, 2)
        model = chain(conv, flat, dense, shape=(None, None, 1))
        assert bounds.convolutional(model, inputs).is_vacuous
        bounds.fully_connected(model, inputs)


def test_bad_arguments(rng):
    model, x = small(), images(rng)
    for delta in (0.0, 1.0, math.nan):
        for function in (bounds.convolutional, bounds.spectral):
            with pytest.raises(ValueError, match="Received: delta="):
                function(model, bounds.Inputs(10, 1.0, 2.0), delta)
    with pytest.raises(ValueError, match="must be finite.*'conv_1'"):
        bounds.inputs_of(model, np.where(x > 0.9, np.nan, x))
    with pytest.raises(ValueError, match="zero everywhere"):
        bounds.inputs_of(model, 0 * x)
    model.trainable = False
    with pytest.raises(ValueError, match="counts the trainable"):
        bounds.spectral(model, bounds.Inputs(10, 1.0, 2.0))
