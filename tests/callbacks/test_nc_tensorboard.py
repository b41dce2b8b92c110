import os
import re
import stat

import keras
import numpy as np
import pytest
from tensorboard.util import tensor_util

import nc_keras
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks.class_picture import cosine_image
from nc_keras.callbacks.class_picture import cosine_picture
from nc_keras.callbacks.panels import LOSS_PANELS
from nc_keras.callbacks.panels import MSE_PANELS
from nc_keras.callbacks.panels import panels_of
from nc_keras.measuring.registry import GROUPS
from nc_keras.metrics import METRICS
from tests.helpers import digits_mlp
from tests.helpers import events_of
from tests.helpers import rows_of

PANELS = panels_of(m for m in METRICS.values() if m.default) | LOSS_PANELS


def network():
    return digits_mlp(nc_keras.losses.MSE(), (0.05, 0.9, 1e-3))


def fit(panels, digits, model=None, **kwargs):
    x, y = digits
    return (model or network()).fit(
        x[:1000],
        y[:1000],
        validation_data=(x[1000:], y[1000:]),
        callbacks=[panels],
        verbose=0,
        **kwargs,
    )


def panels_for(digits, log_dir, **kwargs):
    x, y = digits
    return NCTensorBoard(
        log_dir, x[:1000], y[:1000], (x[1000:], y[1000:]), **kwargs
    )


def series(events, tag):
    found = events.Tensors(tag)
    values = {
        event.step: tensor_util.make_ndarray(event.tensor_proto).item()
        for event in found
    }
    assert len(values) == len(found), "a step appears twice"
    return values


def test_events_and_json_lines_hold_what_the_history_holds(digits, tmp_path):
    panels = panels_for(digits, tmp_path, epochs=[1, 3], images_every=2)
    history = fit(panels, digits, epochs=3).history
    train = events_of(tmp_path / "nc_train")
    test = events_of(tmp_path / "nc_validation")
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for tag in nc_keras.metrics.METRICS:
        key = "nc_accuracy" if tag == "accuracy" else tag
        for events, prefix in ((train, ""), (test, "val_")):
            if prefix + key not in history:
                continue
            values = history[prefix + key]
            assert np.isnan(values.pop(1))  # epoch 2 was not measured
            drawn = series(events, f"nc/{tag}")
            assert list(drawn) == [1, 3]
            np.testing.assert_allclose(list(drawn.values()), values, rtol=1e-6)
            kept = [r[prefix + key] for r in rows if prefix + key in r]
            assert kept == values
    np.testing.assert_allclose(
        list(series(train, "error").values()),
        1 - np.array(history["nc_accuracy"]),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        list(series(test, "loss").values()), history["val_loss"], rtol=1e-6
    )
    assert list(series(train, "learning_rate").values()) == pytest.approx(
        [0.05] * 3
    )
    assert set(series(train, "terminal_phase").values()) <= {0.0, 1.0}
    assert "terminal_phase" not in test.Tags()["tensors"]


def test_every_chart_has_a_tag_that_is_written(digits, tmp_path):
    fit(panels_for(digits, tmp_path, threshold=0.01), digits, epochs=1)
    tags = set()
    for run in ("nc_train", "nc_validation"):
        tags |= set(events_of(tmp_path / run).Tags()["tensors"])
    for charts in PANELS.values():
        for patterns in charts.values():
            for pattern in patterns:
                assert any(re.match(pattern, tag) for tag in tags), pattern


def test_the_terminal_phase_marks_loss_and_error(digits, tmp_path):
    panels = panels_for(digits, tmp_path, threshold=0.8)
    fit(panels, digits, epochs=6)
    onset = panels.terminal_phase.epoch
    assert 1 < onset < 6
    for run in ("nc_train", "nc_validation"):
        events = events_of(tmp_path / run)
        for tag in ("loss", "error"):
            whole = series(events, tag)
            marked = series(events, f"terminal_phase/{tag}")
            assert marked == {k: v for k, v in whole.items() if k >= onset}


def test_images_and_histograms_come_every_n_epochs(digits, tmp_path):
    panels = panels_for(digits, tmp_path, images_every=3)
    fit(panels, digits, epochs=5)
    events = events_of(tmp_path / "nc_train")
    for tag in (
        "cosines/means",
        "cosines/weights",
        "singular_values/means",
        "singular_values/weights",
    ):
        assert [event.step for event in events.Tensors(tag)] == [1, 4, 5], tag
    width, height, png = events.Tensors("cosines/means")[
        0
    ].tensor_proto.string_val
    # Around the 320 pixels of the classes are names and colours.
    assert int(width) > 400 and int(height) > 340
    assert png.startswith(b"\x89PNG")
    # The head is one, whatever the data: it is drawn once.
    tags = events_of(tmp_path / "nc_validation").Tags()["tensors"]
    assert {tag for tag in tags if "cosines" in tag or "values" in tag} == {
        *("cosines/means", "singular_values/means")
    }
    histogram = tensor_util.make_ndarray(
        events.Tensors("singular_values/weights")[0].tensor_proto
    )
    assert histogram[:, 2].sum() == 10


def test_layout_and_hparams_are_written_once(digits, tmp_path):
    panels = panels_for(digits, tmp_path, hparams={"note": "mine", "k": 3})
    fit(panels, digits, epochs=2)
    root = events_of(tmp_path)
    assert len(root.Tensors("custom_scalars__config__")) == 1
    from tensorboard.plugins.custom_scalar import layout_pb2

    layout = layout_pb2.Layout.FromString(
        root.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    )
    titles = [category.title for category in layout.category]
    assert titles == [*PANELS, *MSE_PANELS]
    from tensorboard.plugins.hparams import plugin_data_pb2

    metadata = root.SummaryMetadata("_hparams_/session_start_info")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        metadata.plugin_data.content
    ).session_start_info
    hparams = {
        key: value.string_value or value.number_value
        for key, value in start.hparams.items()
    }
    assert hparams == {
        "model": "mlp",
        "head": "Dense",
        "loss": "mse",
        "class_reduction": "mean",
        "optimizer": "SGD",
        "learning_rate": pytest.approx(0.05),
        "momentum": 0.9,
        "weight_decay": 1e-3,
        "trainable_parameters": 64 * 32 + 64 + 330,
        "note": "mine",
        "k": 3,
    }
    assert "_hparams_/session_end_info" in root.Tags()["tensors"]
    metadata = root.SummaryMetadata("_hparams_/experiment")
    experiment = plugin_data_pb2.HParamsPluginData.FromString(
        metadata.plugin_data.content
    ).experiment
    infos = experiment.hparam_infos
    assert {info.name for info in infos} == set(hparams)
    assert {info.name for info in infos if info.differs} == {
        *("head", "loss", "learning_rate", "weight_decay", "note", "k")
    }
    columns = [info.display_name for info in experiment.metric_infos]
    assert columns[:3] == [
        *("accuracy, validation", "accuracy, train", "nc1, train")
    ]


def test_a_text_has_the_verdict(digits, tmp_path):
    panels = panels_for(digits, tmp_path, epochs=[1, 2], threshold=0.1)
    history = fit(panels, digits, epochs=2).history
    events = events_of(tmp_path).Tensors("verdict")
    texts = {e.step: e.tensor_proto.string_val[0].decode() for e in events}
    assert texts.keys() == {1, 2}
    values = {key: column[1] for key, column in history.items()}
    found = nc_keras.verdict(values, zero_error=0.1)
    assert texts[2].startswith(f"**{found.sentence}**\n\n* NC1: ")
    strict = panels_for(digits, tmp_path / "strict")
    fit(strict, digits)
    (event,) = events_of(tmp_path / "strict").Tensors("verdict")
    assert (
        b"No verdict: the training error is" in event.tensor_proto.string_val[0]
    )


def test_a_text_explains_every_category(digits, tmp_path):
    fit(panels_for(digits, tmp_path), digits, epochs=1)
    root = events_of(tmp_path)
    texts = {
        tag.removeprefix("what it means/"): root.Tensors(tag)[0]
        for tag in root.Tags()["tensors"]
        if tag.startswith("what it means/")
    }
    assert texts.keys() == {*PANELS, *MSE_PANELS, "Images and histograms"}
    for metric in METRICS.values():
        heading = GROUPS[metric.group][1]
        if metric.default:
            (text,) = texts[heading].tensor_proto.string_val
            assert f"`{metric.tag}`" in text.decode(), metric.tag
            assert "Down is collapse" in text.decode()


def test_a_resumed_run_draws_one_line(digits, tmp_path):
    model = network()
    first = panels_for(digits, tmp_path, threshold=0.5)
    fit(first, digits, model, epochs=4)
    before = rows_of(tmp_path)
    onset = first.terminal_phase.epoch
    assert onset is not None
    # Killed in epoch 4, with a line half written, and resumed from epoch 3.
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 5, "los')
    second = panels_for(digits, tmp_path, threshold=0.5)
    fit(second, digits, model, initial_epoch=3, epochs=6)
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[:3] == before[:3]
    assert rows[3] != before[3]
    assert second.terminal_phase.epoch == onset
    drawn = series(events_of(tmp_path / "nc_train"), "nc/nc1")
    assert list(drawn) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        list(drawn.values()), [row["nc1"] for row in rows], rtol=1e-6
    )
    assert len(events_of(tmp_path).Tensors("custom_scalars__config__")) == 1


def test_non_finite_features_in_the_first_epoch_stop_cleanly(
    digits, tmp_path, capsys
):
    x, y = digits
    broken = x[:1000] * np.inf
    panels = NCTensorBoard(tmp_path, broken, y[:1000], False)
    fit(panels, digits, epochs=3)
    assert "Epoch 1, step 32: training stops." in capsys.readouterr().out
    assert [row["epoch"] for row in rows_of(tmp_path)] == [1]


def test_stop_after_and_nothing_lost_when_killed(digits, tmp_path):
    panels = panels_for(digits, tmp_path, threshold=0.2, stop_after=1)

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                # What a process that dies here would leave behind.
                self.rows = rows_of(tmp_path)
                self.nc1 = series(events_of(tmp_path / "nc_train"), "nc/nc1")

    kill = Kill()
    x, y = digits
    history = (
        network()
        .fit(x[:1000], y[:1000], epochs=9, callbacks=[panels, kill], verbose=0)
        .history
    )
    assert len(history["loss"]) == panels.terminal_phase.epoch + 1
    assert len(kill.rows) == len(kill.nc1) == 1
    # The last measurement is drawn, however early training stopped.
    images = events_of(tmp_path / "nc_train").Tensors("cosines/means")
    assert images[-1].step == len(history["loss"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_directory_that_cannot_be_written(digits, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match="Cannot write to the directory.*file"):
        fit(panels_for(digits, file / "run"), digits, epochs=1)
    if os.geteuid() != 0:
        tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
        with pytest.raises(OSError, match="Cannot write to the directory"):
            fit(panels_for(digits, tmp_path / "run"), digits, epochs=1)


def test_hparams_that_tensorboard_cannot_show(digits, tmp_path):
    with pytest.raises(ValueError, match=r"Received: hparams\['w'\]=\(1, 2\)"):
        panels_for(digits, tmp_path, hparams={"w": (1, 2)})


def test_class_names_must_fit(digits, tmp_path):
    panels = panels_for(digits, tmp_path, class_names=["one", "two"])
    with pytest.raises(ValueError, match="10 in all. Received: 2 names"):
        fit(panels, digits, epochs=1)
    assert not list(tmp_path.iterdir())


def test_a_picture_has_names_and_what_white_is():
    frame = nc_keras.geometry.simplex_etf(4, 8, seed=0)
    short = cosine_picture(frame, "abcd", "title")
    names = ["a long name of a class", *"bcd"]
    long = cosine_picture(frame, names, "title")
    assert (np.array(long.shape) > short.shape)[:2].all()
    # The classes themselves are the same, shifted.
    image = cosine_image(frame)
    for picture in (short, long):
        windows = np.lib.stride_tricks.sliding_window_view(
            picture[..., 0], image.shape[:2]
        )
        found = (windows[..., ::64, ::64] == image[::64, ::64, 0]).all(
            axis=(2, 3)
        )
        assert found.any()


def test_cosine_image_is_white_for_a_simplex():
    frame = nc_keras.geometry.simplex_etf(4, 8, seed=0)
    pixels = cosine_image(frame, size=8)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    off_diagonal = pixels[~np.eye(4, dtype=bool).repeat(2, 0).repeat(2, 1)]
    assert off_diagonal.min() >= 254
    diagonal = pixels[0, 0].astype(int)
    assert diagonal[0] > diagonal[2] + 100  # red
    opposite = cosine_image(np.array([[1.0], [-1.0], [0.0]]), size=3)
    red, _, blue = opposite[0, 1].astype(int)
    assert blue > red + 100
    assert (opposite[2] == 128).all()  # a mean of length zero has no angle
    assert cosine_image(np.eye(500)).shape == (500, 500, 3)
