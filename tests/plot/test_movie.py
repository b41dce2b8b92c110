"""The movie: its frames are the features of the epochs, on one plane."""

import numpy as np
import pytest
from PIL import Image

import nc_keras
from nc_keras.plot import FeatureMovie
from nc_keras.plot import collapse_movie
from nc_keras.plot.collapse import _Stage


def trained(digits, **options):
    x, y = digits
    x, y = x[y < 3][:60], y[y < 3][:60]
    model = nc_keras.models.MLP((8, 8, 1), 3, widths=(16,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    movie = FeatureMovie(x, y, **options)
    model.fit(x, y, epochs=4, callbacks=[movie], verbose=0)
    return model, movie, x, y


@pytest.fixture(scope="module")
def made(digits):
    return trained(digits)


def test_a_frame_for_each_epoch(made):
    model, movie, x, y = made
    assert [frame.epoch for frame in movie.frames] == [0, 1, 2, 3, 4]
    features, _ = nc_keras.FeatureExtractor(model)(x, y)
    last = movie.frames[-1]
    np.testing.assert_allclose(last.features, features, rtol=1e-6)
    assert np.abs(movie.frames[0].features - features).max() > 1e-3
    kernel = np.array(model.get_layer("head").kernel)
    np.testing.assert_allclose(last.head, kernel.T)


def test_the_schedule_chooses_epochs_and_logs_stay_clean(digits):
    model, movie, *_ = trained(digits, epochs=[2, 4])
    assert [frame.epoch for frame in movie.frames] == [0, 1, 2, 4]
    assert set(model.history.history) == {"loss"}


def test_the_plane_is_fixed_and_the_size_is_one(made):
    _, movie, *_ = made
    stage = _Stage(movie.frames, None, "")
    for number, frame in enumerate(movie.frames):
        stage.draw(number)
        center = frame.means.mean(axis=0)
        offsets = frame.features - center
        size = np.sqrt((offsets**2).sum(axis=1).mean())
        expected = offsets @ stage.plane.axes.T / size
        points = np.concatenate(
            [np.asarray(c.get_offsets()) for c in stage.axis.collections]
        )
        order = np.argsort(frame.labels, kind="stable")
        np.testing.assert_allclose(points, expected[order], atol=1e-5)
        assert stage.axis.get_xlim() == (-1.6, 1.6)


def test_it_is_saved_as_gif_and_as_page(made, tmp_path):
    _, movie, *_ = made
    movie.save(tmp_path / "movie.gif", class_names=["a", "b", "c"], fps=4)
    with Image.open(tmp_path / "movie.gif") as picture:
        assert picture.n_frames == 5
        assert picture.info["duration"] == 250
    assert (tmp_path / "movie.gif").stat().st_size < 100_000
    movie.save(tmp_path / "movie.html")
    assert (tmp_path / "movie.html").read_text().count("data:image/png") == 5
    with pytest.raises(ValueError, match=r"ends in .gif or .html"):
        movie.save(tmp_path / "movie.mp4")


def test_a_resumed_training_has_one_movie(made):
    _, movie, x, y = made
    other = FeatureMovie(x, y)
    other.set_state(movie.get_state())
    assert [frame.epoch for frame in other.frames] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(
        other.frames[2].features, movie.frames[2].features
    )


def test_without_frames_it_says_what_to_do():
    with pytest.raises(ValueError, match="among its callbacks"):
        collapse_movie([])
