"""Heads for classes of unequal size: of cosines, and the nearest ETF."""

import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras import theory
from nc_keras.layers import CosineClassifier
from nc_keras.layers import NearestETFClassifier

array = ops.convert_to_numpy


def model_of(head, width=16):
    layers = [keras.layers.Dense(width), head]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(
        nc_keras.optimizers.SGD(0.05, momentum=0.9),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


@pytest.fixture
def flat(digits):
    x, y = digits
    return x.reshape(len(x), -1).astype("float32"), y


def test_outputs_after_unit_features_are_cosines(rng):
    h = rng.normal(size=(5, 7)).astype("float32")
    unit = nc_keras.layers.UnitNormalization()
    head = CosineClassifier(3, scale=4.0)
    outputs = array(head(unit(h)))
    v = array(head.v)
    cosines = (
        h @ v / np.outer(np.linalg.norm(h, axis=1), np.linalg.norm(v, axis=0))
    )
    np.testing.assert_allclose(outputs, 4 * cosines, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", [CosineClassifier, NearestETFClassifier])
def test_heads_are_measured_as_what_they_compute(build, flat):
    x, y = flat
    model = model_of(build(10, scale=3.0))
    if build is NearestETFClassifier:
        callbacks = [nc_keras.callbacks.FollowClassMeans()]
        model.fit(x[:512], y[:512], verbose=0, callbacks=callbacks)
    extractor = nc_keras.FeatureExtractor(model)
    features, _ = extractor(x, y)
    outputs = features @ extractor.kernel
    if extractor.bias is not None:
        outputs = outputs + extractor.bias
    np.testing.assert_allclose(
        outputs, model.predict(x, verbose=0), rtol=1e-4, atol=1e-4
    )
    norms = np.linalg.norm(extractor.kernel, axis=0)
    np.testing.assert_allclose(norms, 3.0, rtol=1e-5)


@pytest.mark.parametrize("build", [CosineClassifier, NearestETFClassifier])
def test_saved_models_are_the_same(build, flat, tmp_path):
    x, y = flat
    model = model_of(build(10, scale=3.0))
    callbacks = []
    if build is NearestETFClassifier:
        callbacks = [nc_keras.callbacks.FollowClassMeans()]
    model.fit(x[:512], y[:512], verbose=0, callbacks=callbacks)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(array(before), array(after))
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), loaded.predict(x, verbose=0)
    )


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_frame_is_the_nearest_of_theory(dim, rng):
    head = NearestETFClassifier(3, momentum=0.0, proximal=1e-6)
    means = rng.normal(size=(3, dim)).astype("float32") + 5.0
    head(means)
    head.follow(means, np.arange(3))
    expected = theory.nearest_etf(means).weights
    np.testing.assert_allclose(array(head.kernel).T, expected, atol=1e-4)
    # The origin is the mean of the class means.
    centred = (means - means.mean(0)) @ expected.T
    np.testing.assert_allclose(array(head(means)), centred, atol=1e-3)


def test_the_frame_waits_for_all_classes_and_averages_their_means():
    head = NearestETFClassifier(3, seed=0, momentum=0.75)
    h = np.eye(3, 5, dtype="float32")
    head(h)
    drawn = array(head.frame)
    head.follow(h[:2], [0, 1])
    np.testing.assert_array_equal(array(head.frame), drawn)
    head.follow(h, [0, 2, 2], np.array([1.0, 1.0, 0.0]))
    # Of class 0 twice the same; of class 2, what counts, for the first time.
    np.testing.assert_allclose(array(head.means), h[[0, 1, 1]])
    assert not np.allclose(array(head.frame), drawn)
    head.follow(4 * h[:1], [0])
    np.testing.assert_allclose(array(head.means)[0], 1.75 * h[0])
    gram = array(head.kernel).T @ array(head.kernel)
    np.testing.assert_allclose(gram, 1.5 * np.eye(3) - 0.5, atol=1e-6)


def test_the_frame_stays_an_etf_where_means_leave_it_open():
    head = NearestETFClassifier(4, seed=0)
    head(np.zeros((1, 6), "float32"))
    drawn = array(head.frame)
    head.follow(np.zeros((4, 6), "float32"), np.arange(4))
    np.testing.assert_allclose(array(head.frame), drawn, atol=1e-6)
    # All in one direction: the others are those of before, as near as can be.
    line = np.outer([0.0, 1.0, 2.0, 5.0], np.eye(6)[0]).astype("float32")
    head.follow(line, np.arange(4))
    gram = array(head.kernel).T @ array(head.kernel)
    np.testing.assert_allclose(gram, 4 / 3 * np.eye(4) - 1 / 3, atol=1e-5)


def test_training_follows_the_class_means(flat):
    x, y = flat
    keras.utils.set_random_seed(0)
    head = NearestETFClassifier(10, scale=4.0)
    model = model_of(head)
    follow = nc_keras.callbacks.FollowClassMeans()
    model.fit(x, y, epochs=12, verbose=0, callbacks=[follow], batch_size=64)
    assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] > 0.95
    features, labels = nc_keras.FeatureExtractor(model)(x, y)
    means = np.array([features[labels == c].mean(0) for c in range(10)])
    nearest = theory.nearest_etf(means).weights
    frame = array(head.kernel).T / 4.0
    # Cosines with the frame that is nearest at the end.
    assert np.min(np.sum(frame * nearest, axis=1)) > 0.9
    # The head alone was not trained, and follows no more.
    assert not head.trainable_weights
    before = array(head.frame)
    model.fit(x[:64], y[:64], verbose=0)
    np.testing.assert_array_equal(array(head.frame), before)


def test_steps_of_several_at_once_and_eager_ones_are_the_same(flat):
    x, y = flat
    found = []
    for options in (
        {},
        {"steps_per_execution": 2},
        {"run_eagerly": True},
        {"jit_compile": False},
    ):
        if keras.backend.backend() == "torch" and options:
            options = {}
        keras.utils.set_random_seed(0)
        model = model_of(NearestETFClassifier(10, seed=1))
        model.compile(
            nc_keras.optimizers.SGD(0.05),
            loss=nc_keras.losses.CE(),
            **options,
        )
        follow = nc_keras.callbacks.FollowClassMeans()
        model.fit(
            *(x[:256], y[:256]),
            verbose=0,
            callbacks=[follow],
            batch_size=32,
            shuffle=False,
        )
        found.append([array(weight) for weight in model.weights])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_one_hot_labels_and_those_that_a_loss_ignores(flat):
    x, y = flat
    heads = []
    for labels, loss in (
        (y[:64], nc_keras.losses.CE()),
        (np.eye(10)[y[:64]], nc_keras.losses.CE()),
    ):
        keras.utils.set_random_seed(0)
        head = NearestETFClassifier(10, seed=1)
        model = model_of(head)
        model.compile("sgd", loss=loss)
        follow = nc_keras.callbacks.FollowClassMeans()
        model.fit(
            *(x[:64], labels), verbose=0, callbacks=[follow], shuffle=False
        )
        heads.append(array(head.frame))
    np.testing.assert_allclose(*heads, atol=1e-6)


def test_following_is_of_one_head():
    with pytest.raises(ValueError, match="with 0"):
        nc_keras.callbacks.FollowClassMeans().set_model(
            model_of(keras.layers.Dense(10))
        )


@pytest.mark.parametrize(
    ("build", "wrong"),
    [
        (CosineClassifier, {"scale": 0.0}),
        (CosineClassifier, {"scale": float("nan")}),
        (NearestETFClassifier, {"scale": -1.0}),
        (NearestETFClassifier, {"momentum": 1.0}),
        (NearestETFClassifier, {"proximal": 0.0}),
    ],
)
def test_wrong_arguments(build, wrong):
    with pytest.raises(ValueError, match="Received: "):
        build(10, **wrong)
    with pytest.raises(ValueError, match="Received: "):
        build(1)


def test_too_few_dimensions():
    with pytest.raises(ValueError, match="in at least 9 dimensions"):
        NearestETFClassifier(10)(np.zeros((1, 8), "float32"))


def test_mixed_precision(flat):
    x, y = flat
    for head in (
        CosineClassifier(10, dtype="mixed_bfloat16"),
        NearestETFClassifier(10, dtype="mixed_bfloat16"),
    ):
        model = model_of(head)
        callbacks = []
        if isinstance(head, NearestETFClassifier):
            callbacks = [nc_keras.callbacks.FollowClassMeans()]
        model.fit(x[:64], y[:64], verbose=0, callbacks=callbacks)
        norms = np.linalg.norm(array(head.kernel), axis=0)
        np.testing.assert_allclose(norms, 1.0, rtol=1e-5)


def test_the_head_can_be_named(flat):
    x, y = flat
    head = NearestETFClassifier(10, name="moving")
    model = model_of(head)
    follow = nc_keras.callbacks.FollowClassMeans("moving")
    model.fit(x[:256], y[:256], verbose=0, callbacks=[follow])
    assert array(head.seen).all()
    with pytest.raises(ValueError, match="with 0"):
        nc_keras.callbacks.FollowClassMeans(model.layers[0]).set_model(model)
