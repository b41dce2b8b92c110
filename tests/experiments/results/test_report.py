import html
import json
import math
import re

import pytest

from nc_keras.experiments.results import page as pages
from nc_keras.experiments.results import panels
from nc_keras.experiments.results import plots
from recipes import report
from tests.experiments import records

screenshot = pytest.importorskip("tools.screenshot", reason="no selenium")


def in_browser(test):
    missing = screenshot.find_chromium() is None
    skip = pytest.mark.skipif(missing, reason="needs chromium")
    return pytest.mark.browser(skip(test))


def visible_text(page):
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


def whole_record():
    record = records.record(records.LOSSES, records.HEADS)
    record["runs"][2]["failure"] = "loss was not finite at epoch 3"
    records.never_vanished(record["runs"][4])
    # More than the others' 2.2, but before it in the order of text.
    record["runs"][5]["seconds_per_epoch"] = 10.5
    return record


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    pages.write_report(path, whole_record())
    return path


def test_one_small_file_that_asks_for_nothing(path):
    text = path.read_text("utf-8")
    assert path.stat().st_size < 2_000_000
    assert list(path.parent.iterdir()) == [path]
    outside = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert outside == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bsrc=|@import|<link[^>]+stylesheet", text)
    ids = re.findall(r"\bid=\"([^\"]+)\"", text)
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)
    assert used and {a or b for a, b in used} <= set(ids)


def test_what_the_page_says(path):
    text = path.read_text("utf-8")
    assert '<html lang="en">' in text
    said = visible_text(text)
    for expected in (
        "Scaled down: 35 epochs a run instead of the 350",
        "1,347 to train, 450 to test, 10 classes",
        "rate 0.1",
        "no claim about collapse is made",
        "failed: loss was not finite at epoch 3",
        "2 of 3 reached",
        "Published numbers, not ours",
        "Papyan et al. 2020, Table 1",
        "KERAS_BACKEND=tensorflow python -m recipes.digits --network conv_net "
        "--widths 32 64",
        "--learning-rate 0.1",
    ):
        assert expected in said, expected
    for panel in panels.PANELS:
        assert panel.caption in said


def test_text_of_the_record_is_no_markup(tmp_path):
    record = records.record(seeds=(0,))
    record["title"] = "<script>alert(1)</script>"
    record["runs"][1]["head"] = '<b>"&'
    record["runs"][1]["folder"] = "javascript:alert(1)"
    pages.write_report(tmp_path / "r.html", record)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<h1>&lt;script&gt;alert(1)&lt;/script&gt;</h1>" in text
    assert "<script>alert" not in text and "<b>" not in text
    assert 'href="javascript:' not in text


def test_links_are_relative_to_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "plot_figures", lambda record: {})
    folder = tmp_path / "runs" / "a run"
    folder.mkdir(parents=True)
    record = records.record(seeds=(0,))
    first, second = record["runs"]
    page = tmp_path / "runs" / "report.html"
    for known in (str(folder), "runs/a run", "a run"):
        first["folder"], second["folder"] = known, "not/there"
        pages.write_report(page, record)
        text = page.read_text("utf-8")
        assert '<a href="a%20run/">a run</a>' in text
        assert '<a href="not/there/">' in text
        assert str(tmp_path) not in text


def strip(record):
    for run in record["runs"]:
        run["robustness"] = []
        for row in run["measured"]:
            for key in [key for key in row if key.startswith("val_")]:
                del row[key]
    return record


def one_run(record):
    record["interrupted"] = True
    record["runs"] = [records.run(last=8)]
    return record


def all_failed(record):
    for run in record["runs"]:
        run |= {"failure": "broke", "first": None, "last": None}
        run |= {"at_terminal_epoch": None, "measured": [], "robustness": []}
    return record


def not_finite(record):
    record["runs"][0]["last"]["nc1"] = math.nan
    return record


def bare(record):
    return {"title": "bare", "runs": record["runs"]}


@pytest.mark.parametrize(
    "change, expected, missing",
    [
        (strip, "Not measured in this comparison: Test accuracy;", 3),
        (one_run, "Interrupted before every run had finished", 0),
        (all_failed, "failed (broke)", 9),
        (not_finite, "NC1 is not finite at the end", 0),
        (bare, "over 3 paired seeds", 0),
    ],
)
def test_partial_records(tmp_path, change, expected, missing):
    # As it comes back from results.json.
    record = json.loads(json.dumps(change(records.record())))
    pages.write_report(tmp_path / "report.html", record)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert expected in visible_text(text)
    assert text.count("<figure") == len(panels.PANELS) - missing
    assert not re.search(r">\s*(nan|None|undefined)\s*<", text)


def test_no_runs_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        pages.write_report(tmp_path / "r.html", records.record(losses=()))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def page(path):
    with screenshot.browser(1200, 900) as page:
        page.get(path.as_uri())
        yield page


@pytest.fixture
def resized(page):
    def resize(width, scheme):
        page.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": 900,
                "deviceScaleFactor": 1,
                "mobile": width < 500,
            },
        )
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        page.refresh()
        return page

    yield resize
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def run_column(page, title):
    """What the shown rows of the table of runs have under a heading."""
    return page.execute_script(
        """
        const table = document.querySelector('#runs');
        const column = [...table.tHead.rows[0].cells].findIndex(
          (cell) => cell.innerText.trim() === arguments[0]);
        return [...table.tBodies[0].rows]
          .filter((row) => row.getClientRects().length)
          .map((row) => row.cells[column].innerText.trim());
        """,
        title,
    )


def sort_by(page, title):
    page.execute_script(
        "[...document.querySelectorAll('#runs th button')].find("
        "(button) => button.innerText.trim() === arguments[0]).click()",
        title,
    )


@in_browser
def test_no_errors_and_no_requests(page):
    page.refresh()
    assert page.get_log("browser") == []
    requests = "return performance.getEntriesByType('resource').length"
    assert page.execute_script(requests) == 0


@in_browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), (390, "dark")])
def test_every_figure_is_seen_and_nothing_overflows(resized, width, scheme):
    page = resized(width, scheme)
    sizes = page.execute_script(
        "return [...document.querySelectorAll('figure svg')].map((svg) => "
        "[svg.getBoundingClientRect().width, "
        "svg.getBoundingClientRect().height, "
        "svg.getAttribute('aria-label')])"
    )
    assert len(sizes) == len(panels.PANELS)
    for shown, height, label in sizes:
        assert shown > 250 and height > 100 and label
    needed = page.execute_script("return document.body.scrollWidth")
    assert needed <= width
    view = page.execute_script("return document.documentElement.scrollWidth")
    assert view <= width


@in_browser
def test_light_and_dark(resized):
    style = (
        "const paper = getComputedStyle(document.body);"
        "const word = document.querySelector('figure svg text *') ?? "
        "document.querySelector('figure svg text');"
        "return [paper.backgroundColor, paper.color, "
        "getComputedStyle(word).fill]"
    )
    for scheme, paper, ink in (
        ("light", "rgb(255, 255, 255)", "rgb(26, 27, 28)"),
        ("dark", "rgb(21, 23, 26)", "rgb(230, 231, 233)"),
    ):
        found = resized(1200, scheme).execute_script(style)
        assert found == [paper, ink, ink]


@in_browser
def test_the_tables_have_the_numbers(page):
    rows = page.execute_script(
        "return [...document.querySelectorAll('table.summary')].map((table) =>"
        " Object.fromEntries([...table.tBodies[0].rows].map((row) => "
        "[row.cells[0].innerText, row.cells[2].innerText])))"
    )
    assert len(rows) == 3
    # The head of the second column is the fixed one.
    ce, mse, _ = rows
    assert mse["test accuracy, %"] == "89.10 ± 0.10 → 92.10 ± 0.10"
    assert mse["its gain, points"] == "+3.00 ± 0.00"
    assert mse["NC1"].endswith("0.0055 ± 0.0005")
    assert mse["saving vs linear, %"] == "10.00"
    assert ce["epoch of zero error"].split("\n") == ["12 ± 0", "2 of 3 reached"]
    headings = page.execute_script(
        "return [...document.querySelectorAll('table th')]"
        ".filter((cell) => !cell.scope).length"
    )
    assert headings == 0


@in_browser
def test_a_click_sorts_the_runs(page):
    page.refresh()
    unsorted = run_column(page, "NC1")
    sort_by(page, "NC1")
    up = run_column(page, "NC1")
    assert up != unsorted
    numbers = [float(text) for text in up]
    assert numbers == sorted(numbers) and len(numbers) == 36
    sort_by(page, "NC1")
    assert run_column(page, "NC1") == up[::-1]
    sort_by(page, "s / epoch")
    assert run_column(page, "s / epoch")[-2:] == ["2.20", "10.50"]
    # What is missing comes last both times.
    for _ in range(2):
        sort_by(page, "zero error at")
        assert run_column(page, "zero error at")[-1] == "never"
    sort_by(page, "head")
    assert run_column(page, "head") == sorted(run_column(page, "head"))


@in_browser
def test_heads_can_be_hidden(page):
    page.refresh()
    drawn = (
        "return [...document.querySelectorAll('svg [data-head=etf]')]"
        ".filter((part) => part.getClientRects().length).length"
    )
    # Nine figures, three of two rows, of three losses, and their legends.
    assert page.execute_script(drawn) > 12 * 3
    toggle = "document.querySelector('#heads [value=etf]').click()"
    page.execute_script(toggle)
    assert page.execute_script(drawn) == 0
    assert "etf" not in run_column(page, "head")
    assert set(run_column(page, "head")) == {
        "linear",
        "etf_dim_c",
        "weight_norm",
    }
    page.execute_script(toggle)
    assert len(run_column(page, "head")) == 36


def test_made_again_from_the_record(tmp_path, capsys):
    text = json.dumps(records.record())
    (tmp_path / "results.json").write_text(text)
    report.main([str(tmp_path)])
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "curves.png").exists()
    assert "| trainable parameters |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Name a folder"):
        report.main([str(tmp_path / "none")])
