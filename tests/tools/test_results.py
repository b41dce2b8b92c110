"""Results that are stale are found, and documents show what is kept."""

import dataclasses
import json
import shutil

import keras
import pytest

from tools import check_demo
from tools import fragments
from tools import golden
from tools import pages
from tools import registry
from tools import results

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="documents are the same on every backend",
)
QUICK = registry.Result(
    "quick",
    "recipes.digits --network mlp --widths 8 --epochs 2 --per-class 20",
    ("mlp-ce-linear",),
    "curves.png",
    "tensorflow",
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one document, which quotes one quick result."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "README.md").touch()
    page = tmp_path / "README.md"
    page.write_text(
        "Before\n\n<!-- result quick.comparison -->\nold\n<!-- end -->\n"
        "\nand <!-- result quick.made --><!-- end -->, after.\n"
    )
    monkeypatch.setattr(results, "KEPT", tmp_path / "docs" / "results")
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    known = {"quick": QUICK}
    monkeypatch.setattr(results, "RESULTS", known)
    monkeypatch.setattr(pages, "RESULTS", known)
    return tmp_path


def test_a_result_is_made_kept_quoted_and_found_stale(project, monkeypatch):
    assert results.check() == [
        "quick was never made. Make it again: ./tools/results quick"
    ]
    results.main(["quick"])
    text = (project / "README.md").read_text()
    assert "| NC1 | " in text and "old" not in text
    assert "--widths 8 --epochs 2" in text and text.endswith(", after.\n")
    assert results.check() == []
    kept = project / "docs" / "results" / "quick.json"
    assert kept.stat().st_size < 10_000

    changed = dataclasses.replace(
        QUICK, command=QUICK.command + " --momentum 0"
    )
    monkeypatch.setitem(results.RESULTS, "quick", changed)
    assert "momentum is 0.0, was 0.9" in results.check()[0]
    monkeypatch.setitem(results.RESULTS, "quick", QUICK)

    with monkeypatch.context() as patch:
        everything = golden.kept()
        everything["tensorflow"]["mlp-ce-linear"]["ce-linear-0/loss"][0] += 1
        patch.setattr(golden, "kept", lambda: everything)
        assert "other trainings than today's" in results.check()[0]

    picture = kept.with_suffix(".png")
    picture.write_bytes(picture.read_bytes()[:-1])
    assert "quick.png is not the picture" in results.check()[0]
    shutil.copyfile(project / "runs" / "quick" / "curves.png", picture)

    page = project / "README.md"
    page.write_text(text.replace("| NC1 | ", "| NC1 | 9"))
    assert results.check() == [
        "README.md: not what the results say. Run ./tools/results --write"
    ]
    results.main(["--write"])
    assert page.read_text() == text and results.check() == []


def test_a_place_that_names_nothing_is_refused(project):
    (project / "README.md").write_text("<!-- result no.table --><!-- end -->")
    with pytest.raises(ValueError, match="Received: no.table"):
        pages.outdated()


def test_an_unknown_result_is_refused(project, capsys):
    with pytest.raises(SystemExit):
        results.main(["quikc"])
    assert "there are quick" in capsys.readouterr().err


def test_settings_are_those_of_the_command_today():
    for result in registry.RESULTS.values():
        settings = result.settings()
        if result.is_timed:
            continue
        assert settings["epochs"] > 0 and settings["remainder"] == "drop"


def test_the_promise_of_the_demo():
    good = {"nc1": 0.3, "nc3": 1.0}
    last = {
        "nc_accuracy": 1.0,
        "val_nc_accuracy": 0.995,
        "nc1": 0.003,
        "nc2_equiangular_means": 0.01,
        "nc3": 0.002,
    }
    runs = [
        {"head": head, "terminal_epoch": 12, "first": good, "last": dict(last)}
        for head in ("linear", "etf_dim_c")
    ]
    assert check_demo.broken({"runs": runs}) == []
    runs[0]["last"]["nc3"] = 0.26
    runs[1]["terminal_epoch"] = None
    found = check_demo.broken({"runs": runs})
    assert len(found) == 2 and "linear: NC3 is 0.26" in found[0]
    assert "heads are ['linear']" in check_demo.broken({"runs": runs[:1]})[0]


def test_the_records_that_are_kept_are_small():
    for path in (results.ROOT / "docs" / "results").glob("*.json"):
        assert path.stat().st_size < 200_000
        assert len(json.loads(path.read_text())["commit"]) == 40


def test_what_helps_rare_classes_is_told_seed_by_seed():
    tags = ("val_accuracy_minority", "val_accuracy_majority")
    tags += ("val_balanced_accuracy", "nc1", "cosine_minority_weights")
    tags += ("cosine_minority_means", "nc2_nearest_etf_means")
    accuracies = {
        ("ce", "linear"): (0.5, 0.6),
        ("vs", "linear"): (0.6, 0.7),
        ("mse", "etf"): (0.1, 0.2),
        ("ce", "etf"): (0.7, 0.5),
    }
    runs = [
        {
            "loss": loss,
            "head": head,
            "seed": seed,
            "last": dict.fromkeys(tags, accuracy),
        }
        for (loss, head), both in accuracies.items()
        for seed, accuracy in enumerate(both)
    ]
    kept = {"record": {"runs": runs[::-1]}}
    better, worse, mixed = fragments.rare_findings(kept).split("\n")
    assert "`vs` linear (+10.0 points)" in better and "etf" not in better
    assert "`mse` etf (-40.0 points)" in worse
    assert "`ce` etf (+5.0 points)" in mixed
    rows = fragments.rare(kept).split("\n")[2:]
    first = [row.split(" | ")[0] for row in rows]
    assert first == ["| vs", "| ce", "| ce", "| mse"]
    assert "65.0 ± 7.1" in rows[0]
