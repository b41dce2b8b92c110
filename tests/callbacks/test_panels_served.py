import contextlib
import json
import urllib.parse
import urllib.request

import numpy as np
import pytest
from tensorboard.plugins.hparams import api_pb2

from nc_keras.callbacks.neural_collapse import log_key
from nc_keras.callbacks.panels import LOSS_PANELS
from nc_keras.callbacks.panels import panels_of
from nc_keras.metrics import METRICS
from nc_keras.writers.json_lines import read_json_lines

screenshot = pytest.importorskip("tools.screenshot", reason="no selenium")
PANELS = panels_of(m for m in METRICS.values() if m.default) | LOSS_PANELS

RUNS = ["nc_train", "nc_validation"]
STEPS = [1, 2, 3, 4, 5]
LOADERS = {
    "rust": (),
    # Blocking: the server starts to answer when it has read everything.
    "python": (
        "--load_fast=false",
        "--reload_task=blocking",
        "--reload_interval=0",
    ),
}


@contextlib.contextmanager
def server(folder, loader):
    """Serves a folder, and yields what asks for a route."""
    with screenshot.serve(folder, *LOADERS[loader]) as url:

        def ask(route, **query):
            query = urllib.parse.urlencode(query)
            address = f"{url}data/plugin/{route}?{query}"
            with urllib.request.urlopen(address) as answer:
                return json.load(answer)

        yield ask


@pytest.fixture(scope="module", params=LOADERS)
def ask(resumed_run, request):
    """Asks the server of the resumed run, with either of its loaders."""
    with server(resumed_run, request.param) as asked:
        yield asked


def test_a_resumed_run_is_one_series_of_scalars(ask, resumed_run):
    rows = read_json_lines(resumed_run / "metrics.jsonl")
    for run, tags in ask("scalars/tags").items():
        prefix = "val_" if run == "nc_validation" else ""
        for tag in tags:
            series = ask("scalars/scalars", run=run, tag=tag)
            assert [step for _, step, _ in series] == STEPS, (run, tag)
            key = prefix + log_key(tag.removeprefix("nc/"))
            if key in rows[0]:
                # The third epoch is the one of the second training.
                np.testing.assert_allclose(
                    [value for _, _, value in series],
                    [row[key] for row in rows],
                    rtol=1e-6,
                    err_msg=f"{run} {tag}",
                )


def test_every_scalar_is_in_one_chart(ask):
    patterns = [
        pattern
        for charts in PANELS.values()
        for chart in charts.values()
        for pattern in chart
    ]
    drawn = [
        (run, tag)
        for run in RUNS
        for pattern in patterns
        for tag in ask("custom_scalars/scalars", run=run, tag=pattern)[
            "tag_to_events"
        ]
    ]
    served = ask("scalars/tags")
    assert sorted(drawn) == sorted(
        (run, tag) for run in RUNS for tag in served[run]
    )


def test_the_layout_is_that_of_the_panels(ask):
    layout = ask("custom_scalars/layout")
    assert {
        category["title"]: {
            chart["title"]: chart["multiline"]["tag"]
            for chart in category["chart"]
        }
        for category in layout["category"]
    } == PANELS


@pytest.mark.parametrize(
    "run, rows",
    [
        ("nc_train", "means"),
        ("nc_train", "weights"),
        ("nc_validation", "means"),
    ],
)
def test_images_and_histograms_of_a_resumed_run(ask, run, rows):
    images = ask("images/images", run=run, tag=f"cosines/{rows}", sample=0)
    assert [image["step"] for image in images] == [1, 3, 5]
    histograms = ask(
        "histograms/histograms", run=run, tag=f"singular_values/{rows}"
    )
    assert [step for _, step, _ in histograms] == [1, 3, 5]
    for _, _, bins in histograms:
        assert sum(count for _, _, count in bins) == 10


def test_the_columns_of_the_hparams_page(ask):
    answer = ask("hparams/experiment", request="{}")
    names = [info["name"] for info in answer["hparamInfos"]]
    # This optimizer has no decay.
    assert names[:3] == ["head", "learning_rate", "loss"]
    headings = [info["displayName"] for info in answer["metricInfos"]]
    assert headings[:2] == ["accuracy, validation", "accuracy, train"]
    assert len(headings) == 6


def test_the_texts_are_served(ask):
    tags = ask("text/tags")["."]
    tag = "what it means/NC1 variability collapse"
    assert tag in tags
    [text] = ask("text/text", run=".", tag=tag)
    assert text["step"] == 0 and "<strong>" in text["text"]


def test_hparams_know_the_settings_and_the_end_of_the_run(ask):
    request = {"sliceSize": 10, "allowedStatuses": api_pb2.Status.keys()}
    answer = ask("hparams/session_groups", request=json.dumps(request))
    [group] = answer["sessionGroups"]
    assert group["name"].endswith("resumed")
    assert group["hparams"]["loss"] == "ce"
    assert group["hparams"]["head"] == "Dense"
    assert group["hparams"]["learning_rate"] == 0.125
    [session] = group["sessions"]
    assert session["status"] == "STATUS_SUCCESS"


def test_the_hparams_page_has_the_results_of_each_run(resumed_run):
    # TensorBoard finds them where the folder above is served, as to compare.
    request = {"sliceSize": 10, "allowedStatuses": api_pb2.Status.keys()}
    last = read_json_lines(resumed_run / "metrics.jsonl")[-1]
    with server(resumed_run.parent, "python") as ask:
        answer = ask("hparams/session_groups", request=json.dumps(request))
    [group] = answer["sessionGroups"]
    found = {
        (one["name"]["group"], one["name"]["tag"]): one["value"]
        for one in group["metricValues"]
    }
    assert len(found) == 6
    assert found["nc_train", "nc/nc1"] == pytest.approx(last["nc1"])
