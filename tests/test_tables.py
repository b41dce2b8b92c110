"""Tables: what is written is what was measured, in four formats."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest

import nc_keras
from nc_keras.report import Report
from nc_keras.tables import Table
from nc_keras.tables import number

TABLE = Table(
    ("metric_a", "train"),
    [("nc1 & 50 %", 0.0000123456), ("a|b^2", None), ("−1 ± 2 → 3", -0.25)],
    title="100 % of {x}",
)


@pytest.fixture(scope="module")
def report(digits):
    x, y = digits
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    return nc_keras.report(
        model,
        (x[:300], y[:300]),
        (x[300:500], y[300:500]),
        per_class=True,
        print_fn=lambda text: None,
    )


def rows_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_csv_has_every_digit():
    assert rows_of(TABLE.to_csv()) == [
        ["metric_a", "train"],
        ["nc1 & 50 %", "1.23456e-05"],
        ["a|b^2", ""],
        ["−1 ± 2 → 3", "-0.25"],
    ]


def test_latex_is_escaped_and_has_booktabs_rules():
    assert TABLE.to_latex() == "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\caption{100 \% of \{x\}}",
            r"\begin{tabular}{lr}",
            r"\toprule",
            r"metric\_a & train \\",
            r"\midrule",
            r"nc1 \& 50 \% & $1.235 \times 10^{-5}$ \\",
            r"a$|$b\textasciicircum{}2 & -- \\",
            r"$-$1 $\pm$ 2 $\to$ 3 & $-0.25$ \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def test_markdown_keeps_its_columns():
    assert TABLE.to_markdown().splitlines() == [
        "| metric_a | train |",
        "| --- | ---: |",
        "| nc1 & 50 % | 1.235e-05 |",
        "| a\\|b^2 | – |",
        "| −1 ± 2 → 3 | -0.25 |",
    ]


def test_files_are_written(tmp_path):
    for name in ("csv", "latex", "markdown"):
        writer = getattr(TABLE, f"to_{name}")
        assert writer(tmp_path / name) is None
        assert (tmp_path / name).read_text().rstrip("\n") == writer().rstrip(
            "\n"
        )


def test_numbers_that_are_none():
    assert [number(v) for v in (float("nan"), float("inf"), True)] == [
        *("nan", "inf", "True")
    ]


def test_the_report_is_a_frame(report):
    pytest.importorskip("pandas", reason="no pandas")
    frame = report.to_frame()
    assert list(frame.columns) == ["metric", "goes to", "train", "test"]
    train = frame.set_index("metric")["train"]
    assert train["nc1"] == report["train"]["nc1"]
    assert frame.set_index("metric")["goes to"]["accuracy"] == "1"
    assert np.isnan(train["ncc_accuracy"])


def test_the_classes_of_a_report(report):
    rows = rows_of(report.class_table("test").to_csv())
    assert rows[0][:2] == ["class", "variance"] and len(rows) == 11
    expected = report["test"]["per_class_variance"]
    np.testing.assert_allclose([float(r[1]) for r in rows[1:]], expected)
    with pytest.raises(ValueError, match="per_class=True"):
        Report({"train": {"nc1": 1.0}}).class_table()


def test_layers_are_rows(digits):
    x, y = digits[0][:200], digits[1][:200]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(32, 16))
    result = nc_keras.layerwise(model, x, y)
    rows = rows_of(result.to_csv())
    assert rows[0][:3] == ["layer", "D", "separation"]
    assert [row[:2] for row in rows[1:]] == [
        [name, str(dim)] for name, dim in result.dims.items()
    ]
    assert [float(row[3]) for row in rows[1:]] == list(result.column("nc1"))


def test_without_pandas_the_error_names_it():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from nc_keras.tables import Table\n"
        "try:\n"
        "    Table(('a',), []).to_frame()\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install pandas" in done.stdout
