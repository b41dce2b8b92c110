"""Figures and tables of a comparison for papers, and their spread."""

import csv
import io
import statistics

import pytest
import scipy.stats

from nc_keras.experiments.options.settings import SHOWN
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results import page
from nc_keras.experiments.results import plots
from nc_keras.experiments.results import tables
from nc_keras.experiments.results.comparison import Comparison
from nc_keras.experiments.results.comparison import export
from nc_keras.experiments.results.record import write_json
from recipes import report as again
from tests.experiments import records

NC1 = [0.010, 0.011, 0.012]  # at the end, of the three seeds


def row(record, quantity="NC1", when="at the end"):
    text = Comparison(record).to_csv()
    return next(
        one
        for one in csv.DictReader(io.StringIO(text))
        if (one["head"], one["quantity"], one["when"])
        == ("linear", quantity, when)
    )


@pytest.mark.parametrize("spread", ["range", "std", "ci95"])
def test_the_table_for_programs(spread):
    found = row(records.record() | {"spread": spread})
    assert float(found["mean"]) == pytest.approx(statistics.fmean(NC1))
    half = statistics.stdev(NC1)
    if spread == "ci95":
        low, high = scipy.stats.ttest_1samp(NC1, 0).confidence_interval()
        half = (high - low) / 2
    column = "half_of_ci95" if spread == "ci95" else "std"
    assert float(found[column]) == pytest.approx(half)
    assert found["seeds"] == "3"


def test_one_seed_has_no_spread():
    assert row(records.record(seeds=(0,)))["std"] == ""


def test_bands_follow_the_spread():
    record = records.record()
    ends = {}
    for spread in ("range", "std", "ci95"):
        figures = plots.plot_figures(record | {"spread": spread})
        figure = figures["variability"]
        vertices = figure.axes[0].collections[0].get_paths()[0].vertices
        last = vertices[vertices[:, 0] == records.EPOCHS[-1], 1]
        ends[spread] = min(last), max(last)
        text = [t.get_text() for t in figure.legends[0].get_texts()]
        assert text[-1] == plots.SPREADS[spread]
    assert ends["range"] == pytest.approx((0.010, 0.012))
    assert ends["std"] == pytest.approx((0.010, 0.012))  # Of these, the same.
    half = 0.001 / 3**0.5 * scipy.stats.t.ppf(0.975, 2)
    assert ends["ci95"] == pytest.approx((0.011 - half, 0.011 + half))


def test_a_band_below_zero_needs_no_zero_on_the_axis():
    record = records.record(seeds=(0, 1)) | {"spread": "ci95"}
    axis = plots.plot_figures(record)["variability"].axes[0]
    assert axis.get_yscale() == "log" and axis.get_ylim()[0] > 0


def test_page_and_tables_say_what_follows_the_mean(tmp_path, capsys):
    record = records.record() | {"spread": "ci95"}
    assert "95 % interval" in page.render(record, tmp_path)
    tables.print_summary(record)
    assert "mean ± 95 % interval" in capsys.readouterr().out


def test_tables_for_papers():
    record = records.record(("ce", "mse"))
    latex = Comparison(record).to_latex()
    assert latex.count(r"\begin{table}") == 2
    remark = r"mean $\pm$ std over seeds"
    assert rf"\caption{{digits, conv\_net, ce ({remark})}}" in latex
    markdown = Comparison(record).to_markdown()
    assert markdown.split("\n")[1] == "| --- | ---: | ---: |"
    assert markdown.splitlines()[0] in tables.markdown_summary(record)


def test_what_is_asked_for_is_written(tmp_path):
    record = records.record()
    written = export(record, tmp_path, ("pdf", "svg"), ("tex", "csv", "md"))
    assert [path.name for path in written] == [
        *("figures", "table.tex", "table.csv", "table.md")
    ]
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"variability.pdf", "variability.svg"} <= figures
    assert len(figures) == 2 * len(plots.plot_figures(record))
    assert export(record, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_the_report_again_in_another_spread(tmp_path, capsys):
    write_json(tmp_path / "results.json", records.record())
    again.main([str(tmp_path), "--spread", "ci95", "--tables", "csv"])
    assert (tmp_path / "table.csv").exists()
    assert "95 % interval" in (tmp_path / "report.html").read_text()


def test_how_results_are_shown_changes_no_training():
    shown = Settings("digits", formats=("pdf",), tables=("md",), spread="std")
    assert shown.plain() == Settings("digits").plain()
    assert not set(SHOWN) & shown.plain().keys()
