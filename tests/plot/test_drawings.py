"""Drawings of one moment: what is drawn is what was measured."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import nc_keras
from nc_keras.plot.plane import nearest_etf


@pytest.fixture(scope="module")
def data(digits):
    x, y = digits
    return x[:400], y[:400]


@pytest.fixture(scope="module")
def model():
    return nc_keras.models.MLP((8, 8, 1), 10, widths=(32, 16))


def few(data, count):
    x, y = data
    return x[y < count], y[y < count]


def means_of(model, x, y):
    features, labels = nc_keras.FeatureExtractor(model)(x, y)
    means = [features[labels == c].mean(axis=0) for c in np.unique(labels)]
    return np.array(means, "float64"), features.astype("float64")


def test_cosines_of_class_means(model, data):
    figure = nc_keras.plot.cosines(model, *data)
    means, _ = means_of(model, *data)
    expected = nc_keras.geometry.cosines(means - means.mean(axis=0))
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), expected, atol=1e-6)
    # White is the simplex ETF's.
    color = image.cmap(image.norm(-1 / 9))
    np.testing.assert_allclose(color, 1, atol=0.01)
    ticks = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert "−0.11 (ETF)" in ticks


def test_cosines_of_a_head_a_layer_and_a_matrix(model):
    kernel = np.array(model.get_layer("head").kernel).T
    expected = nc_keras.geometry.cosines(kernel)
    for what in (model, model.get_layer("head"), kernel):
        image = nc_keras.plot.cosines(what).axes[0].images[0]
        np.testing.assert_allclose(image.get_array(), expected, atol=1e-6)


def test_two_classes_and_a_class_without_direction():
    figure = nc_keras.plot.cosines([[1.0, 0.0], [-1.0, 0.0]])
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(image.cmap(image.norm(-1.0)), 1, atol=0.01)
    figure = nc_keras.plot.cosines(np.diag([1.0, 1.0, 0.0]))
    assert figure.axes[0].images[0].get_array().mask[2].all()


def test_class_names_fit_or_are_refused():
    names = ["T-shirt or top", "ankle boot", "sandal"]
    figure = nc_keras.plot.cosines(np.eye(3), class_names=names)
    figure.draw_without_rendering()
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == names
    for text in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.y1 <= figure.bbox.height
    with pytest.raises(ValueError, match="3 in all. Received: 2 names"):
        nc_keras.plot.cosines(np.eye(3), class_names=names[:2])


def test_of_many_classes_some_are_named():
    axis = nc_keras.plot.cosines(np.eye(100)).axes[0]
    assert len(axis.get_xticks()) == 25
    assert not axis.texts


def test_features_lie_on_the_plane_of_the_means(data):
    model = nc_keras.models.MLP((8, 8, 1), 3, widths=(16,))
    x, y = few(data, 3)
    axis = nc_keras.plot.features(model, x, y).axes[0]
    means, features = means_of(model, x, y)
    center = means.mean(axis=0)
    drawn = [
        one.get_xydata()[0] for one in axis.lines if one.get_marker() != "None"
    ]
    # Three means are in the plane: no distance is lost.
    np.testing.assert_allclose(
        np.linalg.norm(drawn, axis=1),
        np.linalg.norm(means - center, axis=1),
        rtol=1e-5,
    )
    for c, collection in enumerate(axis.collections):
        points = np.asarray(collection.get_offsets())
        assert len(points) == (y == c).sum()
        np.testing.assert_allclose(points.mean(axis=0), drawn[c], atol=1e-5)
    rays = [one for one in axis.lines if one.get_linestyle() == "--"]
    ends = np.array([ray.get_xydata()[1] for ray in rays])
    cosines = nc_keras.geometry.cosines(ends)
    np.testing.assert_allclose(cosines[0, 1:], -0.5, atol=1e-6)


def test_features_in_three_dimensions_and_in_axes_of_the_user(data):
    model = nc_keras.models.MLP((8, 8, 1), 4, widths=(16,))
    x, y = few(data, 4)
    figure = Figure()
    axis = figure.add_subplot(projection="3d")
    assert nc_keras.plot.features(model, x, y, dims=3, ax=axis) is figure
    assert len(axis.collections) == 4
    with pytest.raises(ValueError, match="Received: dims=4"):
        nc_keras.plot.features(model, x, y, dims=4)
    x, y = few(data, 3)
    three = nc_keras.models.MLP((8, 8, 1), 3, widths=(16,))
    with pytest.raises(ValueError, match="span 2 dimensions, not 3"):
        nc_keras.plot.features(three, x, y, dims=3)


def test_many_examples_are_thinned(model, data):
    axis = nc_keras.plot.features(model, *data, most=100).axes[0]
    assert sum(len(c.get_offsets()) for c in axis.collections) == 100


def test_the_nearest_etf_is_nearer_than_others(rng):
    means = rng.normal(size=(5, 9))
    means -= means.mean(axis=0)
    nearest = nearest_etf(means)
    cosines = nc_keras.geometry.cosines(nearest)
    np.testing.assert_allclose(cosines, nc_keras.geometry.simplex_gram(5))
    length = np.linalg.norm(nearest[0])
    distance = np.linalg.norm(nearest - means)
    for seed in range(50):
        other = length * nc_keras.geometry.simplex_etf(5, 9, seed=seed)
        assert distance < np.linalg.norm(other - means)
    assert nearest_etf(means[:, :3]) is None


def test_the_spectrum_of_a_model_with_data(model, data):
    axis = nc_keras.plot.spectrum(model, *data).axes[0]
    means, features = means_of(model, *data)
    head, of_means, within = axis.lines[:3]
    centered = means - means.mean(axis=0)
    expected = np.linalg.svd(centered, compute_uv=False)[:9]
    np.testing.assert_allclose(
        of_means.get_ydata(), expected / expected[0], rtol=1e-4
    )
    assert len(head.get_ydata()) == 10
    y = data[1]
    spread = np.linalg.svd(features - means[y], compute_uv=False)
    spread *= np.sqrt(10 / len(y)) / expected[0]
    np.testing.assert_allclose(
        within.get_ydata(), spread[spread > 1e-8], rtol=1e-3
    )
    assert axis.lines[3].get_xdata()[0] == 9


def test_the_spectrum_of_matrices():
    axis = nc_keras.plot.spectrum({"a": np.diag([4.0, 2.0, 0.0])}).axes[0]
    assert list(axis.lines[0].get_ydata()) == [1.0, 0.5]
    assert axis.get_yscale() == "log"


def test_layers_are_in_their_order(model, data):
    result = nc_keras.layerwise(model, *data)
    figure = nc_keras.plot.layers(result)
    assert len(figure.axes) == 3
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_xticklabels()] == list(result)
    curve, law = axis.lines
    np.testing.assert_allclose(curve.get_ydata(), result.column("separation"))
    logs = np.log(law.get_ydata())
    np.testing.assert_allclose(np.diff(logs), result.law.slope)
    figure = nc_keras.plot.layers({"a": result, "b": result}, "nc1")
    assert len(figure.axes[0].lines) == 2
    with pytest.raises(ValueError, match="no values of nc3"):
        nc_keras.plot.layers(result, "nc3")
    with pytest.raises(ValueError, match="result of type dict"):
        nc_keras.plot.layers({"a": 1})


def test_what_is_no_layer_or_matrix_is_refused(model):
    with pytest.raises(ValueError, match="have a `kernel`"):
        nc_keras.plot.cosines(model.layers[0])
    with pytest.raises(ValueError, match="Received: shape"):
        nc_keras.plot.spectrum(np.zeros(3))
