import io
import math

import pytest
from rich.console import Console

from nc_keras.experiments.results import findings
from nc_keras.experiments.results import summary
from nc_keras.experiments.results import tables
from tests.experiments import records


def cells(record, label, loss="ce"):
    """The row of a table, a cell for each head."""
    heads = summary.by_loss(record)[loss]
    (found,) = (cells for name, cells in tables.table(heads) if name == label)
    return dict(zip(heads, found, strict=True))


def three_seeds():
    """One loss, two heads; what the seeds came to is set by hand."""
    record = records.record()
    accuracies = {
        "linear": ((0.90, 0.90), (0.80, 0.82), (0.70, 0.74)),
        "etf": ((0.90, 0.92), (0.80, 0.81), (0.70, 0.78)),
    }
    for run in record["runs"]:
        zero, end = accuracies[run["head"]][run["seed"]]
        run["at_terminal_epoch"]["val_nc_accuracy"] = zero
        run["last"]["val_nc_accuracy"] = end
    return record


def test_mean_and_spread_over_the_seeds():
    linear = summary.groups(three_seeds())["ce", "linear"]
    found = linear.statistic("val_nc_accuracy", summary.ZERO)
    # Of 0.9, 0.8, 0.7: squares 0.01 + 0 + 0.01 over n - 1 = 2.
    assert found.mean == pytest.approx(0.8)
    assert found.spread == pytest.approx(0.1)
    assert found.n == 3
    gain = linear.statistic("val_nc_accuracy", summary.GAIN)
    # Of 0, 0.02, 0.04.
    assert gain.mean == pytest.approx(0.02)
    assert gain.spread == pytest.approx(0.02)


def test_cells():
    record = three_seeds()
    assert cells(record, "test accuracy, %")["linear"].values == (
        "80.00 ± 10.00",
        "82.00 ± 8.00",
    )
    assert cells(record, "its gain, points")["linear"].values == (
        "+2.00 ± 2.00",
    )
    # 1000 parameters with the linear head, 900 with the other.
    assert cells(record, "saving vs linear, %")["etf"].values == ("10.00",)
    assert cells(record, "trainable parameters")["etf"].values == ("900",)
    assert cells(record, "state memory, MB")["etf"].values == ("2.00",)
    # 2.0, 2.1 and 2.2 seconds.
    assert cells(record, "seconds per epoch")["etf"].values == ("2.10 ± 0.10",)
    # 0.010 times 1, 1.1, 1.2 at the end.
    assert cells(record, "NC1")["linear"].values[1] == "0.011 ± 0.001"
    # 0.032, 0.033, 0.034 at epoch 12; 0.055, 0.056, 0.057 at epoch 35.
    assert cells(record, "DeepFool robustness")["etf"].values == (
        "0.033 ± 0.001",
        "0.056 ± 0.001",
    )
    assert cells(record, "seeds")["etf"] == tables.Cell(("3",))


def test_one_seed_has_no_spread():
    record = records.record(seeds=(4,))
    statistic = summary.groups(record)["ce", "etf"].statistic("nc1", "end")
    assert statistic.spread is None and statistic.n == 1
    assert "±" not in tables.markdown_summary(record)
    comparisons = [s for s in findings.findings(record) if "against" in s]
    assert len(comparisons) == 2
    for sentence in comparisons:
        assert "One seed: no spread, no ranking." in sentence


def test_findings_pair_the_seeds():
    # Differences of 0.02, -0.01, 0.04: mean 1.67, std 2.52 points.
    sentences = findings.findings(three_seeds())
    assert (
        "ce, etf against linear: test accuracy at the end +1.67 ± 2.52 points "
        "over 3 paired seeds: no difference beyond the spread of the seeds."
    ) in sentences
    record = three_seeds()
    for run in record["runs"]:
        if run["head"] == "etf":
            run["last"]["val_nc_accuracy"] += 0.03
    # 0.05, 0.02, 0.07: mean 4.67, the same std.
    assert (
        "ce, etf against linear: test accuracy at the end +4.67 ± 2.52 points "
        "over 3 paired seeds: higher by more than the spread of the seeds."
    ) in findings.findings(record)


def test_findings_name_the_ratio_of_nc1():
    record = records.record()
    for run in record["runs"]:
        seed = run["seed"]
        run["last"]["nc1"] = 0.1 * (1 if run["head"] == "linear" else 2**-seed)
    # Ratios 1, 1/2, 1/4: their geometric mean is 1/2, the logarithms' std is
    # log 2, and so is the size of their mean.
    (sentence,) = (s for s in findings.findings(record) if "NC1 at the" in s)
    assert "NC1 at the end 0.5 times that of the linear head" in sentence
    assert "(seeds: 0.25 to 1)" in sentence
    record["runs"][-1]["last"]["nc1"] = 0.1 / 3
    record["runs"][-3]["last"]["nc1"] = 0.1 / 2
    # 1/2, 1/2, 1/3.
    (sentence,) = (s for s in findings.findings(record) if "NC1 at the" in s)
    assert f"{12 ** (-1 / 3):.2g} times" in sentence
    assert "lower by more than the spread of the seeds." in sentence


def test_two_seeds_are_too_few():
    record = records.record(seeds=(0, 1))
    comparisons = [s for s in findings.findings(record) if "against" in s]
    assert len(comparisons) == 2
    for sentence in comparisons:
        assert "over 2 paired seeds: too few seeds to tell." in sentence


def test_the_terminal_phase():
    record = three_seeds()
    # Test accuracy stands still in seed 0 of the linear head.
    (sentence,) = (s for s in findings.findings(record) if "from zero" in s)
    assert "NC1 fell in 6 of 6 runs" in sentence
    assert "test accuracy rose in 5 of 6 runs" in sentence


def test_training_error_that_never_vanished():
    record = records.record()
    records.never_vanished(record["runs"][1])
    assert cells(record, "epoch of zero error")["linear"] == tables.Cell(
        ("12 ± 0",), "2 of 3 reached"
    )
    assert cells(record, "seeds")["linear"].values == ("2", "3")
    assert (
        "ce, linear: the training error did not vanish in 1 of 3 runs "
        "(seed 1): no claim about collapse is made."
    ) in findings.findings(record)
    # Only the pairs in which it did vanish say something of NC1.
    assert any("2 paired seeds" in s for s in findings.findings(record))
    for run in record["runs"][:3]:
        records.never_vanished(run)
    assert cells(record, "epoch of zero error")["linear"].values == ("never",)
    assert cells(record, "test accuracy, %")["linear"].values[0] == "–"
    sentences = findings.findings(record)
    assert (
        "ce, linear: the training error did not vanish in any run (seeds 0, "
        "1, 2): no claim about collapse is made."
    ) in sentences
    assert not any("NC1 at the end" in sentence for sentence in sentences)


def test_failed_runs_are_named_and_in_no_average():
    record = three_seeds()
    expected = summary.groups(record)["ce", "linear"].runs[:2]
    record["runs"][2]["failure"] = "loss was not finite at epoch 3"
    group = summary.groups(record)["ce", "linear"]
    assert [run["seed"] for run in group.runs] == [0, 1]
    assert group.runs == expected
    assert cells(record, "seeds")["linear"] == tables.Cell(("2",), "1 failed")
    assert cells(record, "test accuracy, %")["linear"].values[0] == (
        "85.00 ± 7.07"
    )
    text = tables.markdown_summary(record)
    assert "seed 2: failed (loss was not finite at epoch 3)" in text


def test_values_that_are_not_finite_are_in_no_average():
    record = records.record()
    record["runs"][0]["last"]["loss"] = math.nan
    record["runs"][1]["last"]["nc1"] = math.inf
    group = summary.groups(record)["ce", "linear"]
    assert [run["seed"] for run in group.failed] == [0]
    statistic = group.statistic("nc1", summary.END)
    assert statistic.mean == pytest.approx(0.012)
    assert cells(record, "NC1")["linear"].remark == "n=1"
    sentences = " ".join(findings.findings(record))
    assert "seed 0: failed (loss is not finite in the last" in sentences
    assert "seed 1: NC1 is not finite at the end" in sentences
    assert "nan" not in tables.markdown_summary(record)


def test_a_group_in_which_every_run_failed():
    record = records.record()
    for run in record["runs"][3:]:
        run |= {"failure": "broke", "first": None, "last": None}
        run |= {"at_terminal_epoch": None, "measured": []}
    assert cells(record, "NC1")["etf"].values == ("–", "–")
    assert cells(record, "seeds")["etf"] == tables.Cell(("0",), "3 failed")
    assert any("not compared" in s for s in findings.findings(record))


def test_an_interrupted_comparison():
    record = records.record()
    record["interrupted"] = True
    record["runs"][2] = records.run("ce", "linear", 2, last=20)
    record["runs"][3:] = [records.run("ce", "etf", 0, last=12)]
    group = summary.groups(record)["ce", "linear"]
    assert [run["seed"] for run in group.runs] == [0, 1]
    assert [run["seed"] for run in group.unfinished] == [2]
    sentences = findings.findings(record)
    assert any("seed 2: stopped after epoch 20" in s for s in sentences)
    assert any(
        "etf: last measured after epoch 12, others" in s for s in sentences
    )
    assert any("so they are not compared" in s for s in sentences)
    assert any("Interrupted" in s for s in findings.notices(record))
    assert not any("points" in sentence for sentence in sentences)


def test_without_a_linear_head_nothing_is_compared():
    record = records.record(heads=("etf",))
    assert any("no linear head" in s for s in findings.findings(record))
    assert not any("against" in s for s in findings.findings(record))


def test_what_was_not_measured_has_no_row():
    record = records.record()
    for run in record["runs"]:
        run["robustness"] = []
        for row in run["measured"]:
            row.pop("val_nc4")
    labels = [label for label, _ in tables.table(summary.by_loss(record)["ce"])]
    assert "DeepFool robustness" not in labels and "NC4, test" not in labels
    assert "NC4, train" in labels


def test_robustness_is_of_the_very_epoch():
    record = records.record(seeds=(0,))
    record["runs"][0]["robustness"] = [{"epoch": 20, "deepfool": 0.5}]
    assert cells(record, "DeepFool robustness")["linear"].values == ("–", "–")


def test_no_runs():
    for runs in ({"runs": []}, {}):
        with pytest.raises(ValueError, match=r"at least one.*Received: runs="):
            summary.groups({"title": "none", **runs})


def test_notices():
    record = records.record()
    record["data"]["per_class"] = 100
    scaled, part = findings.notices(record)
    assert "35 epochs" in scaled and "350" in scaled
    assert "100 images per class" in part
    assert findings.notices(record | {"scale": None, "data": {}}) == []


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_printed_tables_fit_a_hundred_columns(seeds):
    record = records.record(records.LOSSES, records.HEADS, seeds)
    # As wide as numbers get.
    for run in record["runs"]:
        run["trainable_parameters"] = 123_456_789
        run["last"]["nc1"] = 1.23e-9 * (1 + run["seed"] / 1000)
    console = Console(width=100, record=True, file=io.StringIO())
    tables.print_summary(record, console)
    text = console.export_text()
    assert "…" not in text
    numbers = "→ 92.10±0.10" if len(seeds) == 3 else "89.00 → 92.00"
    for expected in ("rescaled_square", "weight_norm", numbers, "Scaled down"):
        assert expected in text


def test_the_markdown_tables():
    record = records.record(("ce", "mse"))
    record["runs"][0]["head"] = "a|b"
    lines = tables.markdown_summary(record).splitlines()
    assert [line for line in lines if line.startswith("####")] == [
        "#### digits, conv_net, ce (mean ± std over seeds)",
        "#### digits, conv_net, mse (mean ± std over seeds)",
    ]
    assert any("a\\|b" in line for line in lines)
    rows = [line for line in lines if line.startswith("|")]
    bars = {line.replace("\\|", "").count("|") for line in rows}
    # Three heads with one loss, two with the other.
    assert bars == {5, 4}
    assert "| epoch of zero error | 12 ± 0 | 12 ± 0 |" in rows
