import random

import keras
import numpy as np
import pytest

import nc_keras

COMPILES = keras.backend.backend() != "torch"


class InferenceOnly(keras.layers.Layer):
    """Multiplies by 3 unless it is told that this is no training."""

    def call(self, inputs, training=True):
        return 3.0 * inputs if training else inputs


def affine_layers(classes):
    return [
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        InferenceOnly(),
        keras.layers.Dense(classes),
    ]


def sequential(classes):
    return keras.Sequential([keras.Input((6,)), *affine_layers(classes)])


def functional(classes):
    inputs = x = keras.Input((2, 3))
    for layer in [keras.layers.Flatten(), *affine_layers(classes)]:
        x = layer(x)
    return keras.Model(inputs, x)


def nested(classes):
    inputs = keras.Input((2, 3))
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, sequential(classes)(x))


class Subclassed(keras.Model):
    """Has no `training` argument to hand on."""

    def __init__(self, classes):
        super().__init__()
        self.body = affine_layers(classes)
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        for layer in self.body:
            inputs = layer(inputs)
        return inputs


def subclassed(classes):
    model = Subclassed(classes)
    model(np.zeros((1, 6), "float32"))
    return model


KINDS = [sequential, functional, nested, subclassed]


def affine(kind, classes, rng):
    """An affine model with random weights, W `[C, 6]`, b, and images."""
    model = kind(classes)
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.weights])
    shape = (6,) if kind in (sequential, subclassed) else (2, 3)
    probe = np.concatenate([np.zeros((1, 6)), np.eye(6)]).reshape(7, *shape)
    outputs = model(probe.astype("float32"), training=False)
    outputs = keras.ops.convert_to_numpy(outputs).astype(float)
    x = rng.normal(size=(40, *shape)).astype("float32")
    return model, (outputs[1:] - outputs[0]).T, outputs[0], x


def closed_form(kernel, bias, x, num_candidates):
    """The way to the nearest of some boundaries, and its length."""
    outputs = kernel @ x + bias
    own, *rivals = np.argsort(-outputs)[:num_candidates]
    w = kernel[rivals] - kernel[own]
    distances = (outputs[own] - outputs[rivals]) / np.linalg.norm(w, axis=1)
    nearest = distances.argmin()
    length = np.linalg.norm(w[nearest])
    return distances[nearest] * w[nearest] / length, distances[nearest]


@pytest.mark.parametrize(
    "kind, classes, num_candidates",
    [(kind, 5, 10) for kind in KINDS]
    + [(sequential, 5, 3), (functional, 2, 10)],
)
def test_affine_models_are_solved_in_one_step(
    kind, classes, num_candidates, rng
):
    model, kernel, bias, x = affine(kind, classes, rng)
    result = nc_keras.deepfool(
        model, x, num_candidates=num_candidates, overshoot=0.1
    )
    flat = x.reshape(len(x), -1)
    expected = [closed_form(kernel, bias, v, num_candidates) for v in flat]
    r = np.stack([1.1 * way for way, _ in expected])
    lengths = 1.1 * np.array([length for _, length in expected])
    assert result.perturbations.shape == x.shape
    assert result.found.all() and (result.steps == 1).all()
    np.testing.assert_allclose(
        result.perturbations.reshape(r.shape), r, rtol=1e-3, atol=1e-5
    )
    norms = lengths / np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(
        result.relative_norms, norms, rtol=1e-4, atol=1e-5
    )
    assert result.robustness == pytest.approx(norms.mean(), rel=1e-5)


def test_candidates_are_the_largest_outputs_of_the_image():
    # The boundary of class 2 is nearest, but its output is the smallest.
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    kernel = np.array([[1.0, 0.0, -9.0], [0.0, 0.5, 0.0]])
    model.set_weights([kernel, np.array([0.0, 0.0, 9.0])])
    for num_candidates, r in ((2, [-0.8, 0.4]), (3, [-0.2, 0.0])):
        result = nc_keras.deepfool(
            model, np.ones((1, 2)), num_candidates=num_candidates, overshoot=1.0
        )
        np.testing.assert_allclose(result.perturbations, [r], rtol=1e-5)
        # All classes count when the decision is looked at.
        assert (result.labels[0], result.new_labels[0]) == (0, 2)


def tanh_network(rng, scale=2.0):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(12, "tanh"),
            keras.layers.Dense(6),
        ]
    )
    weights = [scale * rng.normal(size=w.shape) for w in model.weights]
    model.set_weights([w.astype("float32") for w in weights])
    return model, model.get_weights()


def plain_deepfool(weights, x, num_candidates, overshoot, max_steps):
    """One image at a time, with the gradients written out by hand."""
    first, a, second, b = (w.astype(float) for w in weights)

    def linearise(x):
        hidden = np.tanh(x @ first + a)
        return hidden @ second + b, (second.T * (1 - hidden**2)) @ first.T

    outputs, jacobian = linearise(x)
    order = sorted(range(len(outputs)), key=lambda k: -outputs[k])
    own, point, total = order[0], x, np.zeros_like(x)
    for step in range(1, max_steps + 1):
        best = (np.inf, None)
        for k in order[1:num_candidates]:
            w = jacobian[k] - jacobian[own]
            lead = outputs[own] - outputs[k]
            if lead / np.linalg.norm(w) < best[0]:
                best = (lead / np.linalg.norm(w), lead / (w @ w) * w)
        total = total + best[1]
        point = x + (1 + overshoot) * total
        outputs, jacobian = linearise(point)
        if outputs.argmax() != own:
            return (1 + overshoot) * total, step
    return np.full_like(x, np.nan), max_steps


@pytest.mark.parametrize("num_candidates", [3, 10])
def test_nonlinear_model_against_plain_numpy(num_candidates, rng):
    model, weights = tanh_network(rng)
    x = rng.normal(size=(60, 5))
    result = nc_keras.deepfool(
        model, x, num_candidates=num_candidates, max_steps=3, batch_size=50
    )
    expected = [
        plain_deepfool(weights, image, num_candidates, 0.02, 3)
        for image in x.astype("float32").astype(float)
    ]
    r = np.stack([r for r, _ in expected])
    # The test is of several steps, and of images that run out of them.
    assert len(np.unique(result.steps)) == 3 and 0 < (~result.found).sum() < 30
    np.testing.assert_array_equal(
        result.steps, [steps for _, steps in expected]
    )
    np.testing.assert_array_equal(result.found, ~np.isnan(r[:, 0]))
    np.testing.assert_allclose(result.perturbations, r, rtol=5e-3, atol=1e-4)


def test_images_without_a_new_decision_are_not_averaged(rng):
    model, _ = tanh_network(rng)
    x = rng.normal(size=(60, 5))
    result = nc_keras.deepfool(model, x, max_steps=2)
    found = result.found
    assert 0 < found.sum() < 60
    assert np.isnan(result.relative_norms[~found]).all()
    assert np.isnan(result.perturbations[~found]).all()
    assert np.isfinite(result.relative_norms[found]).all()
    assert np.isnan(result.robustness)
    np.testing.assert_array_equal(found, result.labels != result.new_labels)
    assert nc_keras.deepfool(model, x[found]).robustness == pytest.approx(
        np.nanmean(result.relative_norms), rel=1e-5
    )


@pytest.mark.parametrize("bias", [[3.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
def test_images_that_cannot_move_are_not_found(bias):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.zeros((4, 3)), np.array(bias)])
    result = nc_keras.deepfool(model, np.ones((2, 4)))
    assert not result.found.any()
    assert (result.steps == 1).all()


@pytest.fixture(scope="module")
def classifier(digits):
    """A small network, with BatchNorm, trained on real digits."""
    keras.utils.set_random_seed(0)
    x, y = digits
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    model.compile(nc_keras.optimizers.SGD(0.1, 0.9), nc_keras.losses.CE())
    model.fit(x[:1000], y[:1000], batch_size=50, epochs=4, verbose=0)
    return model


def test_real_digits(classifier, digits):
    x = digits[0][1000:1040]
    measure = nc_keras.DeepFool(classifier, batch_size=60)
    result = measure(x)
    assert result.found.all() and result.found.dtype == bool
    assert result.steps.max() > 1
    labels = classifier.predict(x, verbose=0).argmax(axis=1)
    np.testing.assert_array_equal(result.labels, labels)
    moved = x + result.perturbations
    new_labels = classifier.predict(moved, verbose=0).argmax(axis=1)
    np.testing.assert_array_equal(result.new_labels, new_labels)
    assert (new_labels != labels).all()
    norms = [np.linalg.norm(r) for r in result.perturbations]
    relative = norms / np.array([np.linalg.norm(image) for image in x])
    np.testing.assert_allclose(result.relative_norms, relative, rtol=1e-5)
    assert 0.01 < result.robustness < 0.5
    # Small indeed: most decisions stand at half the way.
    near = classifier.predict(x + 0.5 * result.perturbations, verbose=0)
    assert (near.argmax(axis=1) == labels).mean() > 0.8
    again = measure(x)
    np.testing.assert_array_equal(again.perturbations, result.perturbations)


def test_batches_do_not_matter(classifier, digits):
    x = digits[0][1000:1006]
    options = {"num_candidates": 3, "max_steps": 3}
    together = nc_keras.deepfool(classifier, x, batch_size=12, **options)
    # One pair of image and class at a time; the last batch in part.
    others = [
        nc_keras.deepfool(classifier, x, batch_size=size, **options)
        for size in (1, 5)
    ]
    for other in others:
        np.testing.assert_array_equal(other.steps, together.steps)
        np.testing.assert_allclose(
            other.perturbations, together.perturbations, rtol=1e-3, atol=1e-4
        )


def test_weights_are_read_at_each_call_without_compiling_again(rng):
    model, _, _, x = affine(subclassed, 5, rng)
    measure = nc_keras.DeepFool(model)
    before = measure(x)
    calls = model.calls
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.weights])
    after = measure(x[:25])
    if COMPILES:
        assert model.calls == calls
    assert abs(after.robustness - before.robustness) > 1e-3
    np.testing.assert_array_equal(
        after.perturbations, nc_keras.deepfool(model, x[:25]).perturbations
    )


class Measure(keras.callbacks.Callback):
    def __init__(self, measure, x):
        super().__init__()
        self.measure, self.x = measure, x
        self.batches, self.epochs = [], []

    # Neither touches `self.model`, which would put back the weights on JAX.
    def on_train_batch_end(self, batch, logs=None):
        if batch % 3 == 1:
            self.batches.append(self.measure(self.x).relative_norms)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.measure(self.x).relative_norms)


def train(digits, measured):
    keras.utils.set_random_seed(1)
    x, y = digits[0][:200], digits[1][:200]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    model.compile(nc_keras.optimizers.SGD(0.1, 0.9), nc_keras.losses.CE())
    measure = nc_keras.DeepFool(
        model, num_candidates=3, max_steps=5, batch_size=20
    )
    callback = Measure(measure, x[:10])
    model.fit(
        *(x, y),
        batch_size=40,
        epochs=2,
        verbose=0,
        callbacks=[callback] if measured else [],
    )
    return model, measure, callback


def test_measuring_during_training(digits):
    model, measure, callback = train(digits, measured=True)
    assert len(callback.epochs) == 2 and len(callback.batches) == 4
    after = measure(callback.x).relative_norms
    np.testing.assert_array_equal(callback.epochs[-1], after)
    np.testing.assert_array_equal(callback.batches[-1], after)
    assert not np.allclose(callback.epochs[0], after, rtol=1e-2, equal_nan=True)
    assert not np.allclose(
        callback.batches[0], callback.epochs[0], rtol=1e-2, equal_nan=True
    )
    # Training has not noticed.
    alone, _, _ = train(digits, measured=False)
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class Noise(keras.layers.Layer):
    """Draws from its generator in inference mode too."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + keras.random.normal((10,), seed=self.generator)


def stateful_model(digits):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(16, activity_regularizer="l2", trainable=False)(x)
    outputs = Noise()(keras.layers.Dense(10)(x))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", nc_keras.losses.CE(), metrics=["accuracy"])
    model.train_on_batch(digits[0][:50], digits[1][:50])
    return model


def state(model):
    """Everything of a model that a measurement might disturb."""
    variables = [*model.variables, *model.optimizer.variables]
    variables += model.metrics_variables
    grads = [getattr(v.value, "grad", None) for v in model.variables]
    objects = [v.value for v in variables] + grads
    objects += [model.train_function, model.predict_function]
    objects += [model.optimizer, model.compiled, model.stop_training]
    arrays = [keras.ops.convert_to_numpy(v) for v in variables]
    arrays += [keras.ops.convert_to_numpy(g) for g in grads if g is not None]
    flags = [layer.trainable for layer in model._flatten_layers()]
    flags += [getattr(x, "training", None) for x in model._flatten_layers()]
    drawn = [random.getstate(), str(np.random.get_state())]
    return objects, [np.array(a) for a in arrays], [flags, drawn]


def test_model_and_generators_are_left_as_they_were(digits):
    model = stateful_model(digits)
    objects, arrays, flags = state(model)
    nc_keras.deepfool(model, digits[0][:10], max_steps=3)
    new_objects, new_arrays, new_flags = state(model)
    assert all(a is b for a, b in zip(objects, new_objects, strict=True))
    assert any(a.dtype != "float32" for a in arrays)
    for old, new in zip(arrays, new_arrays, strict=True):
        np.testing.assert_array_equal(old, new)
    assert flags == new_flags


def seeded():
    keras.utils.set_random_seed(5)
    return keras.ops.convert_to_numpy(keras.random.normal((3,))).tolist()


def test_no_random_numbers_are_drawn(digits):
    if seeded() != seeded():
        pytest.skip("`set_random_seed` of this Keras leaves a generator alone")
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    draws = []
    for measured in (False, True):
        keras.utils.set_random_seed(5)
        if measured:
            nc_keras.deepfool(model, digits[0][:5])
        draws.append(
            [
                keras.ops.convert_to_numpy(keras.random.normal((3,))),
                np.random.normal(size=3),
                keras.layers.Dense(1).name,
            ]
        )
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    np.testing.assert_array_equal(draws[0][1], draws[1][1])
    assert not model.compiled and model.predict_function is None


def test_models_that_run_eagerly_and_other_arrays(rng):
    model, _ = tanh_network(rng)
    x = rng.normal(size=(5, 5)).astype("float32")
    expected = nc_keras.deepfool(model, x, batch_size=20).relative_norms
    model.compile("sgd", "mse", run_eagerly=True)
    for images in (x.astype("float64"), keras.ops.convert_to_tensor(x)):
        norms = nc_keras.deepfool(model, images, batch_size=20).relative_norms
        np.testing.assert_allclose(norms, expected, rtol=1e-3)


def test_mixed_precision(classifier, digits):
    x = digits[0][1000:1020]
    expected = nc_keras.deepfool(classifier, x).robustness
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    mixed.set_weights(classifier.get_weights())
    result = nc_keras.deepfool(mixed, x)
    assert result.perturbations.dtype == "float32"
    assert result.robustness == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_gives_no_image_up(policy, rng):
    def network(dtype):
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(8, "tanh", dtype=dtype),
                keras.layers.Dense(4, dtype=dtype),
            ]
        )

    mixed, single = network(policy), network("float32")
    single.set_weights(mixed.get_weights())
    x = rng.normal(size=(60, 6)).astype("float32")
    expected = nc_keras.deepfool(single, x)
    result = nc_keras.deepfool(mixed, x)
    assert expected.found.all() and result.found.all()
    assert result.robustness == pytest.approx(expected.robustness, rel=1e-4)
    assert [layer.dtype_policy.name for layer in mixed.layers] == [policy] * 2


def test_images_of_another_shape_follow():
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    measure = nc_keras.DeepFool(keras.Model(inputs, keras.layers.Dense(3)(x)))
    rng = np.random.default_rng(1)
    for size in (5, 8, 5):
        result = measure(rng.normal(size=(4, size, size, 1)))
        assert result.perturbations.shape == (4, size, size, 1)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.ones((2, 4), "uint8"), "standardise the images.*dtype uint8"),
        (np.ones((2, 4), bool), "dtype bool"),
        (np.ones((0, 4)), r"not be empty.*shape \(0, 4\)"),
        (np.ones(4), r"shape \(4,\)"),
        (np.array([[1.0, 1, 1, 1], [0, 0, 0, 0]]), "1 of those.*index 1"),
        (np.array([[1.0, 1, 1, 1], [1, 1, np.nan, 1]]), "images for 1 of 2"),
        (np.array([[1.0, 1, 1, np.inf], [1, 1, 1, 1]]), "images for 1 of 2"),
    ],
)
def test_bad_images(x, message):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=message):
        nc_keras.deepfool(model, x)


@pytest.mark.parametrize(
    "option, value",
    [
        ("num_candidates", 1),
        ("num_candidates", 2.5),
        ("max_steps", 0),
        ("batch_size", 0),
        ("overshoot", -0.1),
        ("overshoot", float("nan")),
    ],
)
def test_bad_options(option, value):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=f"`{option}`.*Received: {option}="):
        nc_keras.DeepFool(model, **{option: value})


def test_bad_models():
    dense = keras.layers.Dense
    x = np.random.default_rng(0).normal(size=(5, 4))
    with pytest.raises(ValueError, match="is not built"):
        nc_keras.deepfool(keras.Sequential([dense(3)]), x)
    inputs = keras.Input((4,))
    root = keras.ops.sqrt(0.0 * inputs)
    models = {
        r"C >= 2 classes.*\(128, 1\)": dense(1)(inputs),
        r"one array of shape \(N, C\).*\(128, 4, 3\)": dense(3)(
            inputs[..., None]
        ),
        r"one array.*\[\(128, 3\), \(128, 2\)\]": [
            dense(3)(inputs),
            dense(2)(inputs),
        ],
        "raw outputs.*are probabilities": dense(3, "softmax")(inputs),
        "finite gradients.*Received: NaN": dense(3)(root),
    }
    for message, outputs in models.items():
        with pytest.raises(ValueError, match=message):
            nc_keras.deepfool(keras.Model(inputs, outputs), x)
    model = keras.Sequential([inputs, dense(3)])
    model.set_weights([np.full((4, 3), np.nan), np.zeros(3)])
    with pytest.raises(ValueError, match="finite outputs.*for 5 of 5"):
        nc_keras.deepfool(model, x)


def test_a_call_after_a_failed_one_is_right(rng):
    model, _, _, x = affine(sequential, 5, rng)
    weights = model.get_weights()
    measure = nc_keras.DeepFool(model)
    expected = measure(x).perturbations
    model.set_weights([np.full_like(w, np.nan) for w in weights])
    with pytest.raises(ValueError, match="finite outputs"):
        measure(x)
    model.set_weights(weights)
    np.testing.assert_array_equal(measure(x).perturbations, expected)
