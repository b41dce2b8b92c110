import contextlib
import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.locks import hold
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.training import one_run
from nc_keras.experiments.watching.states import Watch
from nc_keras.writers.json_lines import read_json_lines
from recipes import digits
from recipes import watch
from tests.experiments.watching.watched import cells
from tests.experiments.watching.watched import every_state
from tests.experiments.watching.watched import lines
from tests.experiments.watching.watched import make_run

screenshot = pytest.importorskip("tools.screenshot", reason="no selenium")
ROOT = Path(__file__).parents[2]


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_text())
        for path in folder.rglob("*")
    }


def test_without_a_terminal_one_table_is_printed(tmp_path):
    page = tmp_path / "new" / "page.html"
    with every_state(tmp_path / "runs") as folder:
        before = contents(folder)
        result = subprocess.run(
            [sys.executable, "-m", "recipes.watch", folder, "--html", page],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert contents(folder) == before
    assert (result.returncode, result.stderr) == (0, "")
    assert cells(result.stdout, "ce-etf-0")[0] == "20/35"
    assert "when the watch ended" in page.read_text("utf-8")
    assert "\x1b" not in result.stdout


def test_any_folder_with_a_log_is_shown(tmp_path):
    for name, age in (("mine", 0), ("old", 3600)):
        log = tmp_path / name / "metrics.jsonl"
        log.parent.mkdir()
        rows = [
            {"epoch": epoch, "nc1": 2.0 / epoch, "nc_accuracy": 1.0}
            for epoch in (1, 2)
        ]
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(log, (time.time() - age,) * 2)
    rows = {row.name: row for row in Watch([tmp_path]).look()}
    assert (rows["mine"].state, rows["old"].state) == ("running", "stopped")
    assert rows["mine"].metrics.last["nc1"] == 1.0
    (tmp_path / "old" / "metrics.jsonl").write_text("no JSON\n")
    rows = {row.name: row for row in Watch([tmp_path]).look()}
    assert rows["old"].state == "damaged"


def test_it_starts_quietly_and_without_what_trains():
    heavy = "keras ray grain tensorflow_datasets".split()
    code = (
        "import sys; from recipes import watch, report, grid, sweep, mnist; "
        f"sys.exit(' '.join(sys.modules.keys() & {set(heavy)}) or None)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.stderr.strip(), result.returncode) == ("", 0)


@pytest.mark.parametrize(
    "options, expected",
    [
        (("none",), "Name folders of runs"),
        ((".",), "There is no run"),
        ((".", "--every", "0"), "`every` is a number of seconds"),
        ((".", "--every", "nan"), "Received: every=nan."),
        ((".", "--html", "."), "this is a folder. Received: html=."),
    ],
)
def test_errors(tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        watch.main([*options, "--once"])
    message = raised.value.code
    assert message.startswith("error: ") and expected in message
    assert "Received: " in message
    assert list(tmp_path.iterdir()) == []


class Terminal:
    """A watch on a terminal of its own."""

    def __init__(self, *options):
        self.ours, theirs = pty.openpty()
        size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recipes.watch", *map(str, options)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=os.environ | size,
        )
        os.close(theirs)
        self.text = ""

    def read(self):
        """All that was written, without colours and movements."""
        with contextlib.suppress(OSError):
            while select.select([self.ours], [], [], 0)[0]:
                self.text += os.read(self.ours, 65536).decode("utf-8", "ignore")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)

    def wait_for(self, text):
        found = screenshot.wait_for(self.read, lambda all_: text in all_, 20)
        assert text in found, found[-2000:]

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
            time.sleep(0.05)
        return self.process.wait(1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)


def refreshes(page):
    return 'http-equiv="refresh"' in page.read_text("utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal(tmp_path, number):
    runs, page = tmp_path / "runs", tmp_path / "page.html"
    runs.mkdir()
    options = (runs, "--every", "0.2", "--html", page)
    with Terminal(*options) as terminal:
        terminal.wait_for("No run yet.")
        assert screenshot.wait_for(page.exists) and refreshes(page)
        folder = make_run(runs / "ce-etf-0", 3)
        with hold(folder):
            terminal.wait_for("● 1 running")
            (folder / "metrics.jsonl").write_text(lines(19))
            terminal.wait_for("19/?")
        terminal.wait_for("■ 1 stopped")
        assert refreshes(page)
        assert terminal.stop(number) == 0
        after = terminal.read()
    assert "Traceback" not in after and "error" not in after
    # The other screen has been left, and the last state stays.
    assert "\x1b[?1049l" in terminal.text
    assert "19/?" in terminal.text.partition("\x1b[?1049l")[2]
    assert not refreshes(page)
    assert "when the watch ended" in page.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [
        "page.html"
    ]


def test_a_comparison_is_watched_while_it_trains(tmp_path, monkeypatch):
    # It would hold for all the tests that follow.
    monkeypatch.setattr(one_run, "make_deterministic", lambda: None)
    settings = dataclasses.replace(
        digits.SETTINGS,
        network="mlp",
        widths=(16,),
        heads=("linear", "etf"),
        epochs=3,
        progress=False,
        output=tmp_path,
    )
    dataset = prepare(settings)
    claim_folder(settings, dataset)
    look, seen = Watch([tmp_path]).look, []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append([(r.state, r.metrics.epoch, r.left) for r in look()])

    for run in settings.runs:
        one_run.train(settings, run, dataset, [Look()])
    for number, ((state, epoch, left), (other, *_)) in enumerate(seen):
        assert (state, epoch) == ("running", number % 3 + 1)
        assert left > 0 or epoch == 3
        assert other == ("planned" if number < 3 else "finished")
    rows = look()
    assert [row.name for row in rows] == ["ce-etf-0", "ce-linear-0"]
    for row in rows:
        last = read_json_lines(row.folder / "metrics.jsonl")[-1]
        assert row.state == "finished"
        assert (row.metrics.epoch, row.total, row.left) == (3, 3, None)
        assert row.metrics.last == {
            "error": 1 - last["nc_accuracy"],
            "test_error": 1 - last["val_nc_accuracy"],
            "nc1": last["nc1"],
        }
