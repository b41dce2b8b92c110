import io
import math

import numpy as np
import pytest
from PIL import Image

from nc_keras.experiments.results import curves
from nc_keras.experiments.results import panels
from nc_keras.experiments.results import plots
from nc_keras.experiments.results import summary
from nc_keras.plot import style
from tests.experiments import records


@pytest.fixture(scope="module")
def figures():
    return plots.plot_figures(records.record(("ce", "mse")))


def lines(axis, head):
    """The curves of one head, without the upright mark."""
    return [
        line
        for line in axis.lines
        if line.get_gid() == f"head:{head}" and line.get_linestyle() != ":"
    ]


def marks(axis):
    return [x.get_xdata()[0] for x in axis.lines if x.get_linestyle() == ":"]


def group(record, head="linear"):
    return summary.groups(record)["ce", head]


def test_a_curve_is_the_mean_over_the_seeds():
    record = records.record()
    curve = curves.curve(group(record), "nc1")
    assert curve.epochs == list(records.EPOCHS)
    # 0.010 times 1, 1.1, 1.2 at the end.
    assert curve.mean[-1] == pytest.approx(0.011)
    assert curve.low[-1] == pytest.approx(0.010)
    assert curve.high[-1] == pytest.approx(0.012)


def test_a_curve_has_the_epochs_of_every_seed():
    record = records.record()
    record["runs"][0]["measured"][3]["nc1"] = math.nan
    record["runs"][1]["measured"][5].pop("nc1")
    curve = curves.curve(group(record), "nc1")
    assert curve.epochs == [1, 2, 3, 8, 20, 30, 35]
    for run in record["runs"]:
        run["measured"][0].pop("nc3")
    assert curves.curve(group(record), "nc3").epochs[0] == 2
    assert curves.curve(group(record), "no such value") is None


def test_long_curves_are_thinned_evenly_on_the_logarithmic_axis():
    record = records.record(seeds=(0,))
    row = record["runs"][0]["last"]
    record["runs"][0]["measured"] = [row | {"epoch": e} for e in range(1, 351)]
    epochs = curves.curve(group(record), "nc1").epochs
    assert len(epochs) <= 60
    assert epochs[:5] == [1, 2, 3, 4, 5] and epochs[-1] == 350


def test_every_figure_has_what_was_measured(figures):
    assert list(figures) == [panel.name for panel in panels.PANELS]
    for panel in panels.PANELS:
        axes = np.array(figures[panel.name].axes).reshape(-1, 2)
        assert len(axes) == len(panel.lines)
        for row, (part, key) in zip(axes, panel.lines.items(), strict=True):
            assert row[0].get_ylabel() == f"{panel.label}\n{part}".strip()
            for axis in row:
                assert axis.get_xscale() == "log"
                for head in ("linear", "etf"):
                    (line,) = lines(axis, head)
                    expected = curves.curve(
                        group(records.record(), head), key, panel.transform
                    )
                    np.testing.assert_allclose(line.get_ydata(), expected.mean)
                assert marks(axis) == [12, 12]
        assert [axis.get_xlabel() for axis in axes[-1]] == ["epoch"] * 2
        assert [axis.get_title() for axis in axes[0]] == ["ce", "mse"]


def test_heads_keep_their_colour_and_losses_share_the_axis(figures):
    for figure in figures.values():
        for axis in figure.axes:
            (linear,), (etf,) = (lines(axis, h) for h in ("linear", "etf"))
            assert linear.get_color() == style.COLORS[0]
            assert etf.get_color() == style.COLORS[1]
        assert len({axis.get_ylim() for axis in figure.axes}) == 1
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert names[:2] == ["linear", "etf"]


def test_the_legend_is_outside_the_data(figures):
    for figure in figures.values():
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert 0 <= legend.x0 and legend.x1 <= figure.bbox.width
        for axis in figure.axes:
            assert not legend.overlaps(axis.get_tightbbox())


def test_zeros_are_seen_on_the_logarithmic_axes(figures):
    axis = figures["training_error"].axes[0]
    assert axis.get_yscale() == "symlog"
    assert axis.get_ylim()[0] == 0
    (line,) = lines(axis, "linear")
    assert line.get_ydata()[-1] == 0
    assert figures["variability"].axes[0].get_yscale() == "log"
    record = records.record()
    for run in record["runs"]:
        run["measured"] = [row | {"nc1": 0.0} for row in run["measured"]]
    for figure in plots.plot_figures(record).values():
        figure.savefig(io.BytesIO(), format="png", dpi=20)


def test_failed_runs_are_not_drawn():
    record = records.record(seeds=(0, 1))
    record["runs"][0]["failure"] = "broke"
    axis = plots.plot_figures(record)["variability"].axes[0]
    (line,) = lines(axis, "linear")
    # Seed 1 alone: 0.010 times 1.1, and no band.
    assert line.get_ydata()[-1] == pytest.approx(0.011)
    assert [c.get_gid() for c in axis.collections] == ["head:etf"]


def test_what_was_not_measured_has_no_figure():
    record = records.record()
    for run in record["runs"]:
        run["robustness"] = []
        run["measured"] = [
            {k: v for k, v in row.items() if not k.startswith("val_")}
            for row in run["measured"]
        ]
        records.never_vanished(run)
    figures = plots.plot_figures(record)
    missing = {"robustness", "nearest_mean", "test_accuracy"}
    assert missing.isdisjoint(figures)
    assert len(figures) == len(panels.PANELS) - 3
    assert marks(figures["self_duality"].axes[0]) == []


@pytest.mark.parametrize(
    "losses, heads", [(("ce",), ("etf",)), (records.LOSSES, records.HEADS)]
)
def test_the_overview(tmp_path, losses, heads):
    path = tmp_path / "curves.png"
    plots.plot_comparison(path, records.record(losses, heads))
    assert path.stat().st_size < 300_000
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 500
    for index in range(len(heads)):
        color = [int(style.COLORS[index][i : i + 2], 16) for i in (1, 3, 5)]
        near = np.abs(pixels - color).sum(axis=-1) < 40
        assert near.sum() > 50, style.COLORS[index]
