"""The lines that the README asks to paste do what it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lines_to_paste():
    text = (ROOT / "README.md").read_text()
    section = text.partition("## A few lines")[2]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.mark.always("tensorflow")
def test_the_lines_collapse(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(lines_to_paste(), names)
    found = names["found"]
    assert found["accuracy"] == 1 and found["nc4"] == 0
    # Twice what the worst of five seeds gave.
    assert found["nc1"] < 0.012
    assert found["nc2_equiangular_means"] < 0.1
    assert found["nc3"] < 0.04
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert (tmp_path / "logs" / "digits" / "metrics.jsonl").exists()
