import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from nc_keras.callbacks.panels import LOSS_PANELS
from nc_keras.callbacks.panels import panels_of
from nc_keras.metrics import METRICS

screenshot = pytest.importorskip("tools.screenshot", reason="no selenium")
PANELS = panels_of(m for m in METRICS.values() if m.default) | LOSS_PANELS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        screenshot.find_chromium() is None, reason="needs chromium"
    ),
]

EPOCHS = 5
# The head is one, whatever the data.
DRAWN = [
    ("means", "nc_train"),
    ("means", "nc_validation"),
    ("weights", "nc_train"),
]


@pytest.fixture(scope="module")
def url(resumed_run):
    with screenshot.serve(resumed_run) as url:
        yield url


@pytest.fixture(scope="module")
def page():
    with screenshot.browser(screenshot.WIDTH, screenshot.HEIGHT) as page:
        yield page


@pytest.fixture(scope="module")
def written(resumed_run):
    """The tags that are on disk, for each run."""
    return {
        run: EventAccumulator(str(resumed_run / run)).Reload().Tags()["tensors"]
        for run in ("nc_train", "nc_validation")
    }


def curves(written, patterns):
    """The names of the curves that a chart should have."""
    names = [
        f"{tag} ({run})"
        for run, tags in written.items()
        for tag in tags
        if any(re.match(pattern, tag) for pattern in patterns)
    ]
    assert names, patterns
    return names


def shown(page, card, what):
    """For each card, its heading's name and run, and what a script finds."""
    found = page.execute_script(
        f"""{screenshot.DEEP}
        return deep(document, '{card}').map((card) => [
          deep(card.shadowRoot, 'figcaption')[0]?.innerText ?? '',
          (({{shadowRoot}}) => {what})(card),
        ]);"""
    )
    return {tuple(heading.split("\n")[:2]): value for heading, value in found}


def eventually(read, expected):
    return screenshot.wait_for(read, lambda value: value == expected)


def test_every_chart_draws_the_curves_of_both_runs(url, page, written):
    expected = {
        category: {
            chart: dict.fromkeys(curves(written, patterns), EPOCHS)
            for chart, patterns in charts.items()
        }
        for category, charts in PANELS.items()
    }
    page.get(screenshot.panels_url(url))
    drawn = eventually(lambda: screenshot.read_panels(page), expected)
    assert list(drawn) == list(expected)
    assert drawn == expected


def test_the_settings_are_a_row_of_the_hparams_page(url, page):
    expected = {"ce", "Dense", "0.12500"}

    def cells():
        return expected & set(
            page.execute_script(
                screenshot.DEEP
                + "return deep(document, 'vaadin-grid-cell-content')"
                ".map((cell) => cell.innerText);"
            )
        )

    page.get(url + "#hparams")
    assert eventually(cells, expected) == expected


def test_the_images_page_shows_the_cosines(url, page):
    expected = {(f"cosines/{name}", run): True for name, run in DRAWN}
    page.get(url + "#images")
    sizes = "deep(shadowRoot, 'img').some((img) => img.naturalWidth > 320)"
    images = eventually(lambda: shown(page, "tf-image-loader", sizes), expected)
    assert images == expected


def test_the_histograms_page_shows_the_singular_values(url, page):
    expected = {(f"singular_values/{name}", run): 3 for name, run in DRAWN}
    page.get(url + "#histograms")
    outlines = "deep(shadowRoot, 'path.outline').length"
    drawn = eventually(
        lambda: shown(page, "tf-histogram-loader", outlines), expected
    )
    assert drawn == expected
