import html
import json
import os
import re
import time

import pytest

from nc_keras.experiments.watching.page import render
from nc_keras.experiments.watching.page import write_page
from nc_keras.experiments.watching.states import Watch
from tests.experiments.watching.watched import every_state
from tests.experiments.watching.watched import lines
from tests.experiments.watching.watched import make_run

screenshot = pytest.importorskip("tools.screenshot", reason="no selenium")
needs_browser = pytest.mark.skipif(
    screenshot.find_chromium() is None, reason="needs chromium"
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with every_state(tmp_path_factory.mktemp("runs")) as folder:
        yield Watch([folder]).look()


def said(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_what_the_page_says(rows, tmp_path):
    page = tmp_path / "page.html"
    write_page(page, rows, "digits <b>", 2.5)
    text = page.read_text("utf-8")
    words = said(text)
    assert '<meta http-equiv="refresh" content="3">' in text
    assert "digits &lt;b&gt;" in text and "<b>" not in text
    for expected in (
        "1 running 1 diverged 1 damaged 1 stopped 1 finished 1 planned",
        "the loss was not finite in epoch 3",
        "loads itself again every 3 s",
        "train error: 50.00 % at epoch 1, 0.00 % at epoch 20",
        "● running 20/35 0.00",
        f"Written {time.strftime('%Y-%m-')}",
    ):
        assert expected in words, expected
    # Of five runs, two curves each.
    assert text.count("<polyline") == text.count("<circle") == 10
    # The terminal phase of two of them.
    assert text.count("<line ") == 4
    assert not re.search(r"https?://|\bsrc=|@import|<link[^>]+stylesheet", text)


def test_links_to_the_reports(tmp_path):
    with_report = tmp_path / "runs" / "a run"
    make_run(with_report / "ce-etf-0", 3)
    make_run(tmp_path / "runs" / "b" / "ce-etf-0", 3)
    (with_report / "report.html").write_text("")
    page = tmp_path / "pages" / "page.html"
    page.parent.mkdir()
    rows = Watch([tmp_path / "runs"]).look()
    write_page(page, rows, "runs", None)
    text = page.read_text("utf-8")
    link = '<a href="../runs/a%20run/report.html">a run/ce-etf-0</a>'
    assert re.findall("<a .*?</a>", text) == [link]
    assert str(tmp_path) not in text


def test_a_page_is_never_half_written(tmp_path, monkeypatch, rows):
    page = tmp_path / "page.html"
    write_page(page, rows, "before", None)
    before = page.read_text("utf-8")

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_page(page, rows, "after", None)
    assert page.read_text("utf-8") == before
    assert list(tmp_path.iterdir()) == [page]


def test_zero_has_no_logarithm(tmp_path):
    text = lines(5) + json.dumps({"epoch": 6, "nc1": 0.0}) + "\n"
    make_run(tmp_path / "ce-etf-0", 6, text)
    page = render(Watch([tmp_path]).look(), "runs", tmp_path, None)
    assert re.search("NC1: [0-9.]+ at epoch 1, [0-9.]+ at epoch 5<", page)


@pytest.fixture(scope="module")
def browser():
    with screenshot.browser(1280, 900) as browser:
        yield browser


@needs_browser
@pytest.mark.browser
@pytest.mark.parametrize(
    "width, scheme, paper",
    [(1280, "light", "rgb(255, 255, 255)"), (390, "dark", "rgb(21, 23, 26)")],
)
def test_the_page_in_a_browser(browser, rows, tmp_path, width, scheme, paper):
    write_page(tmp_path / "page.html", rows, "/a/long/path" * 6, None)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"mobile": width < 500}
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.get((tmp_path / "page.html").as_uri())
    assert browser.get_log("browser") == []
    found = browser.execute_script(
        """
        const seen = (cell) => cell.getBoundingClientRect();
        const root = document.documentElement;
        return [
          performance.getEntriesByType('resource').length,
          Math.max(root.scrollWidth, document.body.scrollWidth),
          getComputedStyle(document.body).backgroundColor,
          [...document.querySelectorAll('svg')].map((svg) => seen(svg).width),
          [...document.querySelectorAll('#runs :is(th, td)')]
            .filter((cell) => seen(cell).right > root.clientWidth)
            .map((cell) => cell.innerText),
        ];
        """
    )
    requests, needed, background, curves, outside = found
    assert requests == 0 and needed <= width and background == paper
    assert len(curves) == 10 and min(curves) > 100
    assert outside == []
