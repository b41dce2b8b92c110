"""Which of NC1 to NC4 a network has reached, in words."""

import pathlib
import re

import keras
import numpy as np
import pytest

import nc_keras

COLLAPSED = {
    "accuracy": 1.0,
    "nc1": 0.01,
    "nc2_equinorm_means": 0.02,
    "nc2_max_angle_means": 0.03,
    "nc3": 0.004,
    "nc4": 0.0,
}


def test_the_limits_of_the_documents_are_those_of_the_metrics():
    page = pathlib.Path(__file__).parents[1] / "docs" / "measuring.md"
    rows = re.findall(
        r"^\| NC\d \| (.*) \| (.*) \| (.*) \|$", page.read_text(), re.M
    )
    stated = {
        tag: (float(low), float(high))
        for tags, low, high in rows
        for tag in re.findall("`(.*?)`", tags)
    }
    metrics = nc_keras.metrics.METRICS.values()
    assert stated == {m.tag: m.limits for m in metrics if m.limits}


def test_all_four_are_reached():
    found = nc_keras.verdict(COLLAPSED)
    assert found.state == "collapsed"
    assert found.sentence == "Collapsed: NC1, NC2, NC3, NC4 reached."
    assert list(found.findings) == ["NC1", "NC2", "NC3", "NC4"]


@pytest.mark.parametrize(
    "nc1, state",
    [(0.1, "collapsed"), (0.11, "partly"), (1.0, "partly"), (1.1, "no")],
)
def test_limits_belong_to_the_better_side(nc1, state):
    found = nc_keras.verdict(COLLAPSED | {"nc1": nc1})
    assert found.findings["NC1"].state == state
    assert found.state == ("collapsed" if state == "collapsed" else "partly")


def test_the_worst_metric_of_a_group_decides():
    found = nc_keras.verdict(COLLAPSED | {"nc2_max_angle_means": 0.2})
    assert found.findings["NC2"].tag == "nc2_max_angle_means"
    assert "NC2 (nc2_max_angle_means 0.2, up to 0.3) partly" in found.sentence
    # Also where both are on the same side of their limits.
    found = nc_keras.verdict(COLLAPSED | {"nc2_equinorm_means": 0.09})
    assert found.findings["NC2"].tag == "nc2_equinorm_means"


def test_nothing_is_reached():
    far = {"nc1": 5.0, "nc2_equinorm_means": 0.9, "nc3": 1.9, "nc4": 0.5}
    found = nc_keras.verdict({"nc_accuracy": 1.0} | far)
    assert found.state == "no"
    assert found.sentence.startswith("Not collapsed: NC1 (nc1 5, above 1)")


@pytest.mark.parametrize(
    "values, reason",
    [
        (COLLAPSED | {"accuracy": 0.99}, "the training error is 1 %"),
        ({"nc1": 0.0}, "it needs the training accuracy"),
        ({"accuracy": 1.0}, "none of nc1, "),
        ({"accuracy": 1.0, "nc1": np.nan}, "none of nc1, "),
        (COLLAPSED | {"accuracy": np.nan}, "the training accuracy was not"),
    ],
)
def test_no_verdict_where_nothing_can_be_said(values, reason):
    found = nc_keras.verdict(values)
    assert found.state is None and reason in found.reason
    assert str(found).replace("\n", " ").startswith(f"No verdict: {reason}")


def test_limits_and_the_vanished_error_can_be_set():
    strict = nc_keras.verdict(COLLAPSED, limits={"nc1": (0.001, 0.01)})
    assert strict.findings["NC1"].state == "partly"
    values = COLLAPSED | {"accuracy": 0.99}
    assert nc_keras.verdict(values, zero_error=0.99).state == "collapsed"
    own = nc_keras.verdict(
        COLLAPSED | {"nc1_cdnv": 9.0}, limits={"nc1_cdnv": (0.1, 1)}
    )
    assert own.findings["NC1"].tag == "nc1_cdnv"


@pytest.mark.parametrize(
    "limits, message",
    [
        ({"nc9": (0, 1)}, "no metric 'nc9'"),
        ({"nc1": (1, 0)}, "not the larger"),
        ({"ncc_accuracy": (0.9, 0.99)}, "metrics that go to 0"),
    ],
)
def test_wrong_limits(limits, message):
    with pytest.raises(ValueError, match=message):
        nc_keras.verdict(COLLAPSED, limits=limits)


def test_a_report_ends_with_it():
    # A network that has collapsed: its features are a simplex ETF.
    etf = nc_keras.geometry.simplex_etf(3, 3)
    x, y = np.tile(etf, (4, 1)), np.tile(np.arange(3), 4)
    lines = []
    network = _identity(etf)
    report = nc_keras.report(network, (x, y), print_fn=lines.append)
    assert "Collapsed: NC1, NC2, NC3, NC4 reached." in lines[0]
    assert report.verdict().state == "collapsed"
    assert report.verdict(limits={"nc4": (-1, 0)}).state == "partly"


def test_two_classes_have_no_verdict_of_what_is_zero_by_definition():
    x, y = np.array([[1.0, 0], [-1, 0]] * 4), np.arange(8) % 2
    network = _identity(np.array([[1.0, 0], [-1, 0]]))
    report = nc_keras.report(network, (x, y), print_fn=lambda text: None)
    assert list(report.verdict().findings) == ["NC1", "NC3", "NC4"]
    assert nc_keras.verdict(report) == report.verdict()
    found = nc_keras.verdict(COLLAPSED, num_classes=2)
    assert list(found.findings) == ["NC1", "NC3", "NC4"]


def _identity(head):
    model = keras.Sequential(
        [keras.Input((head.shape[1],)), keras.layers.Dense(len(head))]
    )
    model.layers[-1].set_weights([head.T, np.zeros(len(head))])
    return model
