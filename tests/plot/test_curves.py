"""Curves: the values of every source, and which panel they are in."""

import json
import math

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

import nc_keras
from nc_keras.plot import curves

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [2.5, 1.5, 1.0],
    "nc1": [4.0, float("nan"), 0.04],
    "val_nc1": [8.0, float("nan"), 0.4],
    "nc2_etf_weights": [0.5, 0.4, 0.3],
    "val_nc2_etf_weights": [0.5, 0.4, 0.3],
    "nc4": [0.5, 0.1, 0.0],
    "nc_accuracy": [0.5, 0.9, 1.0],
}


def write(folder, history=HISTORY, factor=1.0):
    folder.mkdir()
    rows = [
        {"epoch": i + 1, "terminal_phase": i == 2}
        | {
            key: None if math.isnan(v[i]) else factor * v[i]
            for key, v in history.items()
        }
        for i in range(3)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def lines(figure, panel=0):
    """Epochs, values and style of the curves of a panel, without marks."""
    return [
        (list(one.get_xdata()), list(one.get_ydata()), one.get_linestyle())
        for one in figure.axes[panel].lines
        if one.get_linestyle() != ":"
    ]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


EXPECTED = [([1, 3], [4.0, 0.04], "-"), ([1, 3], [8.0, 0.4], "--")]


def test_a_history_a_folder_and_a_file_are_the_same_curves(tmp_path):
    folder = write(tmp_path / "run")
    for source in (HISTORY, folder, str(folder), folder / "metrics.jsonl"):
        assert lines(curves(source, "nc1")) == EXPECTED
    marks = [
        one.get_xdata()[0]
        for one in curves(folder, "nc1").axes[0].lines
        if one.get_linestyle() == ":"
    ]
    assert marks == [3]


def test_numbers_of_a_backend_are_numbers():
    history = {
        "nc1": [keras.ops.convert_to_tensor(0.5), np.float32(0.25), None],
        "per_class_variance": [np.ones(3)] * 3,
    }
    (line,) = lines(curves(history))
    assert line == ([1, 2], [0.5, 0.25], "-")


def test_a_keras_history(digits):
    x, y = digits[0][:100], digits[1][:100]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(8,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    watch = nc_keras.callbacks.NeuralCollapse(x, y, epochs=[1, 4])
    history = model.fit(x, y, epochs=4, callbacks=[watch], verbose=0)
    (line,) = lines(curves(history, "nc3"))
    assert line[0] == [1, 4]
    expected = history.history["nc3"]
    np.testing.assert_allclose(line[1], [expected[0], expected[3]])


def test_panels_follow_the_groups_and_say_what_the_metrics_say():
    figure = curves(HISTORY)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "loss",
        "accuracy of the head",
        "NC1\ntr($Σ_W$ $Σ_B^+$) / C",
        "NC4\nshare of decisions that differ",
    ]
    scales = [axis.get_yscale() for axis in figure.axes]
    assert scales == ["linear", "linear", "log", "linear"]
    assert {axis.get_xscale() for axis in figure.axes} == {"log"}
    assert figure.axes[3].get_ylim()[0] == 0
    assert labels(figure) == ["training data", "validation data"]


def test_the_head_is_not_drawn_twice():
    (line,) = lines(curves(HISTORY, "nc2_etf_weights"))
    assert line[2] == "-"


def test_all_that_was_measured():
    tags = {"nc1", "nc2_etf_weights", "nc4", "nc_accuracy"}
    assert len(curves(HISTORY, "all").axes) == len(tags)


def test_several_sources_have_colours_and_names(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", factor=2)
    figure = curves([first, second], "nc1")
    assert [values[0] for _, values, _ in lines(figure)] == [4, 8, 8, 16]
    assert labels(figure)[:2] == ["a", "b"]
    figure = curves({"one": first, "other": HISTORY}, "nc1")
    assert labels(figure)[:2] == ["one", "other"]


@pytest.mark.parametrize("spread", ["range", "std", "ci95"])
def test_a_list_under_a_name_is_seeds(tmp_path, spread):
    seeds = [write(tmp_path / str(i), factor=i) for i in (1, 2)]
    figure = curves({"linear": seeds}, "nc1", spread=spread)
    assert lines(figure)[0] == ([1, 3], [6.0, pytest.approx(0.06)], "-")
    assert len(figure.axes[0].collections) == 2
    bands = {
        "range": "smallest to largest seed",
        "std": "± std over seeds",
        "ci95": "95 % interval of the mean",
    }
    assert labels(figure)[-1] == bands[spread]


def test_a_comparison_is_its_heads(tmp_path):
    run = {"loss": "ce", "seed": 0, "terminal_epoch": 2, "failure": None}
    runs = [
        run | {"head": head, "measured": [{"epoch": 1, "nc1": value}]}
        for head, value in (("linear", 0.5), ("linear", 0.7), ("etf", 0.1))
    ]
    runs.append(runs[0] | {"failure": "broke"})
    (tmp_path / "results.json").write_text(json.dumps({"runs": runs}))
    figure = curves(tmp_path)
    assert lines(figure) == [([1], [0.6], "-"), ([1], [0.1], "-")]
    assert labels(figure)[:2] == ["linear", "etf"]
    runs[2]["loss"] = "mse"
    (tmp_path / "results.json").write_text(json.dumps({"runs": runs}))
    figure = curves({"a": tmp_path / "results.json"})
    assert labels(figure)[:2] == ["a: ce, linear", "a: mse, etf"]


def test_one_metric_goes_into_axes_of_the_user():
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert curves(HISTORY, "nc1", ax=axes[1]) is figure
    assert not axes[0].lines and len(axes[1].lines) == 2
    with pytest.raises(ValueError, match="one metric is drawn"):
        curves(HISTORY, ax=axes[0])


@pytest.mark.parametrize(
    "source, metrics, message",
    [
        (7, None, "Received: source of type int"),
        ("nowhere", None, "no such file or folder"),
        ({"loss": []}, None, "no values to draw"),
        (HISTORY, "nc5", "no values of nc5. It has: loss, nc1"),
    ],
)
def test_what_cannot_be_drawn_is_named(source, metrics, message):
    with pytest.raises(ValueError, match=message):
        curves(source, metrics)


def test_nothing_is_cut_off_or_covered():
    figure = curves(HISTORY)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
        assert not legend.overlaps(box)
        assert not any(box.overlaps(b) for b in boxes[number + 1 :])


@pytest.mark.parametrize(
    "source, metrics",
    [
        ({"val_loss": [1.0, 0.5]}, None),
        ({"loss": [1.0, 0.5]}, "all"),
        ({"a": [{"loss": [1.0]}, {"loss": [math.nan, 1.0]}]}, None),
    ],
)
def test_a_source_of_which_nothing_can_be_drawn(source, metrics):
    with pytest.raises(ValueError, match="Received: "):
        nc_keras.plot.curves(source, metrics)
