"""Files of strangers: no crash, no escape, no other run that is not shown."""

import copy
import io
import json
import os
import random
import re

import pytest
from rich.console import Console

from nc_keras.experiments.console.plain import plain
from nc_keras.experiments.results import page as pages
from nc_keras.experiments.results import plots
from nc_keras.experiments.results import tables
from nc_keras.experiments.results.reading import read_record
from nc_keras.experiments.watching.page import write_page
from nc_keras.experiments.watching.screen import screen
from nc_keras.experiments.watching.states import Watch
from recipes import report
from tests.experiments import records

ESCAPES = "\x1b]0;PWNED\x07\x1b[2J \x9b2J\r\nx"
BASE = {"epochs": 3, "losses": ["ce"], "heads": ["linear"], "seeds": [0]}
DEEP = "[" * 100_000 + "]" * 100_000


def make_run(root, name):
    run = root / name / "ce-linear-0"
    run.mkdir(parents=True)
    (root / name / "settings.json").write_text(json.dumps(BASE))
    facts = {"loss": "ce", "head": "linear", "seed": 0, "finished": True}
    (run / "run.json").write_text(json.dumps(facts))
    row = {"epoch": 1, "seconds": 1.0, "nc1": 0.5, "nc_accuracy": 0.5}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return run


def settings(**changes):
    text = json.dumps(BASE | changes)
    return lambda run: (run.parent / "settings.json").write_text(text)


def metrics(text):
    return lambda run: (run / "metrics.jsonl").write_bytes(text)


def facts(**changes):
    text = json.dumps({"finished": True} | changes)
    return lambda run: (run / "run.json").write_text(text)


HOSTILE = {
    "a name that leads elsewhere": settings(losses=["../../../x"]),
    "an absolute name": settings(losses=["/etc/x"]),
    "a NUL in a name": settings(losses=["a\0b"]),
    "half a character": settings(losses=["\ud800"]),
    "a long name": settings(losses=["a" * 5000]),
    "27 million runs": settings(
        losses=[*range(300)], heads=[*range(300)], seeds=[*range(300)]
    ),
    "an escape in a name": settings(losses=[ESCAPES]),
    "epochs that are true": settings(epochs=True),
    "10^400 epochs": settings(epochs=10**400),
    "deep settings": lambda run: (run.parent / "settings.json").write_text(
        DEEP
    ),
    "an infinite epoch": metrics(b'{"epoch": 1e999, "nc1": 1}\n'),
    "an epoch that is no number": metrics(b'{"epoch": NaN}\n'),
    "an epoch of 400 digits": metrics(b'{"epoch": 1' + b"0" * 400 + b"}\n"),
    "nc1 of 400 digits": metrics(
        b'{"epoch": 1, "nc1": 1' + b"0" * 400 + b"}\n"
    ),
    "infinite seconds": metrics(
        b'{"epoch": 1, "seconds": Infinity}\n{"epoch": 2, "seconds": NaN}\n'
    ),
    "deep metrics": metrics(DEEP.encode() + b"\n"),
    "a list": metrics(b"[1, 2]\n"),
    "a string with epoch": metrics(b'"epoch"\n'),
    "null": metrics(b"null\n"),
    "no text": metrics(b'\xff\xfe{"epoch": 1}\n'),
    "NULs": metrics(b"\0" * 4096 + b"\n"),
    "a failure with escapes": facts(failure=ESCAPES),
    "a failure with markup": facts(failure="[red]x[/red] <img src=x>"),
    "half a character in a failure": facts(failure="\ud800"),
    "a failure that is an object": facts(failure={"a": ["<script>"]}),
    "a lock that is a folder": lambda run: (run / ".lock").mkdir(),
    "a loop": lambda run: os.symlink(run.parent, run.parent / "loop"),
    "a folder with escapes": lambda run: run.parent.rename(
        run.parent.parent / "zz\x1b]0;PWNED\x07"
    ),
    "a folder that is no text": lambda run: os.rename(
        os.fsencode(run.parent), os.fsencode(run.parent.parent) + b"/zz\xff"
    ),
    "a folder with markup": lambda run: run.parent.rename(
        run.parent.parent / "zz\n[bold]<img src=x onerror=alert(1)>"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_bad_run_is_shown_beside_a_good_one(name, tmp_path):
    watched = tmp_path / "runs"
    make_run(watched, "good")
    HOSTILE[name](make_run(watched, "zz"))
    rows = Watch([watched]).look()
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(screen(rows, "runs"))
    assert "good/ce-linear-0" in drawn.getvalue()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", drawn.getvalue())
    write_page(tmp_path / "watch.html", rows, "runs", None)
    page = (tmp_path / "watch.html").read_text()
    assert "good/ce-linear-0" in page
    assert "<img" not in page and "<script>" not in page.partition("<body")[2]


def test_a_lock_that_is_a_link_leaves_what_it_leads_to(tmp_path):
    watched = tmp_path / "runs"
    run = make_run(watched, "good")
    facts(finished=False)(run)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, run / ".lock")
    (row,) = Watch([watched]).look()
    assert row.state == "damaged" and "no file" in row.remark
    assert victim.read_text() == "precious"


def test_a_page_of_a_million_epochs_is_small(tmp_path):
    run = make_run(tmp_path / "runs", "long")
    lines = (
        f'{{"epoch": {epoch}, "nc1": {1 / epoch}, "nc_accuracy": 0.5}}\n'
        for epoch in range(1, 100_001)
    )
    (run / "metrics.jsonl").write_text("".join(lines))
    rows = Watch([tmp_path / "runs"]).look()
    curve = rows[0].metrics.curves["nc1"]
    assert len(curve) <= 2000
    assert [epoch for epoch, _ in curve[:20]] == [*range(1, 21)]
    assert curve[-1][0] == 100_000
    write_page(tmp_path / "watch.html", rows, "runs", None)
    assert (tmp_path / "watch.html").stat().st_size < 200_000


VALUES = [None, -1, 0, 1e400, "x", [], {}, True, [1, 2], {"a": 1}, 1e308]
VALUES += [10**400, "\x1b[2J", 3.5, float("nan"), "missing"]


def places(value, place=()):
    yield place
    inside = {}
    if isinstance(value, dict):
        inside = value
    elif isinstance(value, list):
        inside = dict(enumerate(value))
    for key, one in inside.items():
        yield from places(one, (*place, key))


def changed(record, place, value):
    record = copy.deepcopy(record)
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    if value == "missing":
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return record


def test_a_record_is_summarised_or_refused_with_the_place(tmp_path):
    record = records.record(("ce", "mse"), ("linear", "etf"), (0, 1))
    every, rng = [*places(record)][1:], random.Random(0)
    path = tmp_path / "results.json"
    refused = 0
    for _ in range(400):
        wrong = changed(record, rng.choice(every), rng.choice(VALUES))
        path.write_text(json.dumps(wrong))
        try:
            found = read_record(path)
        except ValueError as error:
            assert "is not what a recipe writes" in str(error)
            refused += 1
            continue
        assert "\x1b" not in tables.markdown_summary(found)
    assert 50 < refused < 350


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": []}', DEEP, "\0"])
def test_what_is_no_record_is_an_error_in_one_line(text, tmp_path, capsys):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(SystemExit) as error:
        report.main([str(tmp_path)])
    assert str(error.value.code).startswith("error: ")
    assert "is not what a recipe writes" in str(error.value.code)


def test_a_comparison_in_which_all_failed_is_drawn(tmp_path):
    record = records.record()
    for run in record["runs"]:
        run["failure"] = "loss was not finite at epoch 3"
    plots.plot_comparison(tmp_path / "curves.png", record)
    assert (tmp_path / "curves.png").stat().st_size > 1000
    pages.write_report(tmp_path / "report.html", record)


def test_tick_labels_are_not_rounded(tmp_path):
    record = records.record()
    for run in record["runs"]:
        for row in run["measured"]:
            row["nc3"] *= 0.01
    page = pages.render(record, tmp_path)
    labels = re.findall(r">(\d\.\d{3,})</text>", page)
    assert labels and len(set(labels)) > 3
    assert not re.search(r' d="[^"]*\d\.\d{3}', page)


def test_what_cannot_be_printed_is_written_out():
    assert plain("a\x1b[2J\n\ud800é中") == "a\\x1b[2J\\n\\ud800é中"
