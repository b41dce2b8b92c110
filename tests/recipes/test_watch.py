import contextlib
import html
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

import pytest
import records
from rich.console import Console

from nc_keras.writers.json_lines import read_json_lines
from recipes import watch
from tools import screenshot

ROOT = Path(__file__).parents[2]
HOLD = """
import pathlib, sys
from recipes import locks
with locks.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def in_browser(test):
    missing = screenshot.find_chromium() is None
    skip = pytest.mark.skipif(missing, reason="needs chromium")
    return pytest.mark.browser(skip(test))


def line(epoch, seconds, head="linear"):
    """A line as a run writes it: not every epoch is measured."""
    row = {"epoch": epoch, "accuracy": 0.9, "loss": 0.5, "seconds": seconds}
    if epoch in records.EPOCHS:
        row |= records.row(epoch, head, 0)
    past = epoch - records.ZERO
    row |= {"terminal_phase": int(past >= 0), "terminal_epochs": max(0, past)}
    return json.dumps(row) + "\n"


def lines(last, pace=2.0):
    return "".join(line(e, 5.0 + pace * e) for e in range(1, last + 1))


def make_run(folder, last, text=None, **outcome):
    folder.mkdir(parents=True)
    loss, head, seed = folder.name.split("-")
    run = {"loss": loss, "head": head, "seed": int(seed), **outcome}
    (folder / "run.json").write_text(json.dumps(run))
    if last:
        metrics = lines(last) if text is None else text
        (folder / "metrics.jsonl").write_text(metrics)
    return folder


def make_settings(folder, heads=(), epochs=records.EPOCHS[-1]):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"epochs": epochs, "seeds": [0], "losses": ["ce"]}
    settings["heads"] = list(heads)
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


@contextlib.contextmanager
def held(folder):
    """Another process holds a folder, as it does while it trains there."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            yield
        finally:
            holder.stdin.close()


def make_all_states(folder):
    """A comparison with a run in every state; `ce-etf-0` is to be held."""
    heads = ("linear", "etf", "etf_dim_c", "weight_norm")
    comparison = make_settings(folder / "digits-mlp", heads)
    make_run(comparison / "ce-linear-0", 35, finished=True, failure=None)
    make_run(comparison / "ce-etf-0", 20)
    make_run(comparison / "ce-etf_dim_c-0", 8, finished=False, failure=None)
    failure = "the loss was not finite in epoch 3"
    make_run(comparison / "mse-etf-0", 2, finished=True, failure=failure)
    damaged = make_run(comparison / "mse-linear-0", 5)
    (damaged / "run.json").write_text('{"loss": "m')
    return comparison


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = make_all_states(tmp_path_factory.mktemp("runs"))
    with held(folder / "ce-etf-0"):
        yield folder


@pytest.fixture
def rows(comparison):
    return watch.Watch([comparison]).look()


def shown(rows, width=140, height=None):
    console = Console(width=width, record=True, file=open(os.devnull, "w"))
    with console.file:
        console.print(watch.screen(rows, "runs", width, height))
    return console.export_text()


def cells(text, name):
    (found,) = [part for part in text.splitlines() if f" {name} " in part]
    return re.sub("[━╸╺]+", "", found.partition(name)[2]).split()


def said(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_every_state(rows):
    assert {row.name: row.state for row in rows} == {
        "ce-etf-0": "running",
        "mse-etf-0": "diverged",
        "mse-linear-0": "damaged",
        "ce-etf_dim_c-0": "stopped",
        "ce-linear-0": "finished",
        "ce-weight_norm-0": "planned",
    }
    # What runs comes first.
    assert rows[0].state == "running"
    remarks = {row.name: row.remark for row in rows if row.remark}
    assert remarks.pop("mse-etf-0") == "the loss was not finite in epoch 3"
    assert "run.json cannot be read" in remarks.pop("mse-linear-0")
    assert not remarks


def test_a_run_that_lets_go_was_stopped(tmp_path):
    folder = make_run(tmp_path / "ce-etf-0", 3)
    look = watch.Watch([tmp_path]).look
    assert look()[0].state == "stopped"
    with held(folder):
        assert look()[0].state == "running"
    assert look()[0].state == "stopped"


def test_what_the_screen_says(rows):
    text = shown(rows)
    head = text.splitlines()[:2]
    # Of two seconds: 15 epochs of the run, 35 of the one that is planned, and
    # 27 of the one that was stopped.
    assert head[0] == "runs   3 min left"
    assert head[1].split("  ") == [
        "● 1 running",
        "✗ 1 diverged",
        "? 1 damaged",
        "■ 1 stopped",
        "✓ 1 finished",
        "○ 1 planned",
    ]
    last = records.row(20, "linear", 0)
    assert cells(text, "ce-etf-0") == [
        "20/35",
        "0.00",
        "10.00",
        f"{100 * (1 - last['val_nc_accuracy']):.2f}",
        f"{last['nc1']:.3g}",
        "12",
        "2.00",
        "30",
        "s",
    ]
    assert cells(text, "ce-etf_dim_c-0")[5] == "no"
    assert "mse-etf-0: the loss was not finite in epoch 3" in text


def test_eighty_columns(rows):
    text = shown(rows, 80)
    assert max(map(len, text.splitlines())) <= 80
    # Neither cut nor wrapped.
    assert cells(text, "ce-etf-0")[0] == "20/35"
    assert "○ 1 planned" in text.splitlines()[1]


def test_the_end_of_a_long_name_is_kept(tmp_path):
    name = "rescaled_square-weight_norm-0"
    make_run(tmp_path / "fashion_mnist-densenet250" / name, 35)
    text = shown(watch.Watch([tmp_path]).look(), 80)
    assert re.search(rf"■ …\S+/{name} +35/\? ", text)
    assert max(map(len, text.splitlines())) <= 80


def test_time_left(tmp_path):
    slow = "".join(
        # The first epoch compiles, and some are measured.
        line(e, 60.0 + 3 * e + (10 if e == 8 else 0))
        for e in range(1, 11)
    )
    comparison = make_settings(tmp_path / "a", ("linear", "etf"))
    other = make_settings(tmp_path / "b", ("linear",))
    one = make_run(comparison / "ce-linear-0", 10, slow)
    two = make_run(other / "ce-linear-0", 5)
    look = watch.Watch([tmp_path]).look
    assert watch.time_left(look()) is None
    with held(one):
        first, *_ = rows = look()
        assert first.left == pytest.approx(25 * 3)
        # The run to come takes as long an epoch.
        assert watch.time_left(rows) == pytest.approx((25 + 35) * 3)
        with held(two):
            # Two folders at the same time.
            assert watch.time_left(look()) == pytest.approx((25 + 35) * 3)
    with held(two):
        assert watch.time_left(look()) == pytest.approx(30 * 2)


def test_time_left_of_a_sweep(tmp_path):
    sweep = tmp_path / "sweep"
    for rate in ("rate-0.1", "rate-0.2", "rate-0.3"):
        make_settings(sweep / rate, ("linear",))
    run = make_run(sweep / "rate-0.1" / "ce-linear-0", 5)
    other = make_run(sweep / "rate-0.2" / "ce-linear-0", 15)
    # Of an earlier command, which nobody repeats.
    make_run(sweep / "rate-0.2" / "ce-etf-0", 15)
    # Not a run, but Ray's.
    make_run(sweep / ".ray" / "ce-linear-0", 5)
    look = watch.Watch([tmp_path]).look
    assert len(look()) == 4
    with held(run):
        assert watch.time_left(look()) == pytest.approx(30 * 2)
        with held(sweep):
            assert watch.time_left(look()) == pytest.approx((30 + 20 + 35) * 2)
            with held(other):
                # Two at once.
                left = (30 + 20 + 35) * 2 / 2
                assert watch.time_left(look()) == pytest.approx(left)


def test_the_clock_of_a_run_that_resumed(tmp_path):
    text = lines(5) + "".join(line(6 + i, 4.0 + 4 * i) for i in range(5))
    make_run(tmp_path / "ce-etf-0", 10, text)
    (row,) = watch.Watch([tmp_path]).look()
    # Four steps of two seconds and four of four, but none back to the start.
    assert row.metrics.pace == 3.0
    assert row.left is None and row.work() is None


def test_one_epoch_has_a_pace(tmp_path):
    make_settings(tmp_path)
    folder = make_run(tmp_path / "ce-etf-0", 1, line(1, 8.0))
    with held(folder):
        (row,) = watch.Watch([tmp_path]).look()
    assert row.left == 8.0 * 34


def test_words_for_times():
    words = [watch._duration(s) for s in (0, 89, 100, 5400, 172800, None)]
    assert words == ["0 s", "89 s", "2 min", "1.5 h", "2.0 d", "–"]


def state_of(metrics):
    values = {**vars(metrics), "times": list(metrics._times)}
    for name in ("_times", "_seen", "bytes_read"):
        del values[name]
    return values


@pytest.fixture
def growing(tmp_path):
    path = tmp_path / "metrics.jsonl"
    return path, watch.Metrics(path)


def test_only_what_was_appended_is_read(growing):
    path, metrics = growing
    assert metrics.update().epoch == 0
    path.write_text(lines(20))
    assert metrics.update().epoch == 20
    assert metrics.bytes_read == path.stat().st_size
    before = metrics.bytes_read
    metrics.update()
    assert metrics.bytes_read == before
    with open(path, "a") as file:
        file.write(line(21, 50.0))
        # A line that is being written.
        file.write(line(22, 52.0)[:-9])
    assert metrics.update().epoch == 21
    assert metrics.problem is None
    # The last line that was known, and what is new.
    assert metrics.bytes_read < before + 4 * len(line(21, 50.0)) + 1500
    with open(path, "a") as file:
        file.write(line(22, 52.0)[-9:])
    assert metrics.update().epoch == 22
    assert state_of(metrics) == state_of(watch.Metrics(path).update())


def cut(path, text):
    """In place, so that it stays the same file."""
    with open(path, "r+") as file:
        file.truncate(0)
        file.write(text)


def replace(path, text):
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


def move_away(path, text):
    path.rename(path.with_name("metrics.1.jsonl"))
    path.write_text(text)


@pytest.mark.parametrize("change", [cut, replace, move_away])
@pytest.mark.parametrize("last", [0, 5, 20, 30])
def test_a_run_that_begins_again(growing, change, last):
    path, metrics = growing
    path.write_text(lines(20))
    assert metrics.update().terminal_epoch == 12
    # Up to epoch 8 as before; what comes then is as long as it was.
    text = lines(min(last, 8)) + lines(last, pace=3.0)[len(lines(8)) :]
    change(path, text)
    assert metrics.update().epoch == last
    assert metrics.terminal_epoch == (12 if last >= 12 else None)
    assert state_of(metrics) == state_of(watch.Metrics(path).update())


def test_a_file_that_is_gone(growing):
    path, metrics = growing
    path.write_text(lines(20))
    metrics.update()
    path.unlink()
    assert metrics.update().epoch == 0 and not metrics.last


def test_null_is_not_a_number(tmp_path):
    values = {"accuracy": None, "nc_accuracy": None, "nc1": None}
    text = lines(5) + json.dumps({"epoch": 6, "seconds": 17.0, **values}) + "\n"
    make_run(tmp_path / "ce-etf-0", 6, text)
    rows = watch.Watch([tmp_path]).look()
    assert cells(shown(rows), "ce-etf-0")[:5] == [
        "6/?",
        "nan",
        "nan",
        f"{100 - 100 * records.row(5, 'linear', 0)['val_nc_accuracy']:.2f}",
        "nan",
    ]
    # They are no points of a curve.
    assert len(rows[0].metrics.curves["nc1"]) == 4
    assert watch.render(rows, "runs", tmp_path, None).count("<polyline") == 2


def test_zero_has_no_logarithm(tmp_path):
    text = lines(5) + json.dumps({"epoch": 6, "nc1": 0.0}) + "\n"
    make_run(tmp_path / "ce-etf-0", 6, text)
    page = watch.render(watch.Watch([tmp_path]).look(), "runs", tmp_path, None)
    assert re.search("NC1: [0-9.]+ at epoch 1, [0-9.]+ at epoch 5<", page)


@pytest.mark.parametrize(
    "file, text, expected",
    [
        ("ce-etf-0/run.json", "[1]", "run.json cannot be read"),
        ("ce-etf-0/run.json", '{"loss', "run.json cannot be read"),
        ("ce-etf-0/metrics.jsonl", "{}\n", "there is no 'epoch'"),
        ("ce-etf-0/metrics.jsonl", '{"epoch": 0}\n', "there is an epoch 0"),
        ("ce-etf-0/metrics.jsonl", '{"epoch": "x"}\n', "invalid literal"),
        ("ce-etf-0/metrics.jsonl", "[]\n", "line 1 of metrics.jsonl"),
        ("ce-etf-0/metrics.jsonl", '{"epo\n', "line 1 of metrics.jsonl"),
        ("ce-etf-0/metrics.jsonl", "\xff\n", "line 1 of metrics.jsonl"),
        ("settings.json", '{"epochs":', "settings.json cannot be read"),
    ],
)
def test_what_is_damaged(tmp_path, file, text, expected):
    make_settings(tmp_path / "a", ("etf",))
    folder = make_run(tmp_path / "a" / "ce-etf-0", 12)
    make_run(tmp_path / "b" / "ce-etf-0", 12, finished=True)
    look = watch.Watch([tmp_path]).look
    good = (tmp_path / "a" / file).read_text()
    (tmp_path / "a" / file).write_text(text, "latin-1")
    damaged, sound = look()
    assert (damaged.name, damaged.state) == ("a/ce-etf-0", "damaged")
    assert expected in damaged.remark and expected in shown([damaged])
    assert sound.state == "finished"
    # It may run all the same.
    with held(folder):
        assert look()[0].state == "running"
        assert expected in look()[0].remark
    # Whole again, a file is read again.
    (tmp_path / "a" / file).write_text(good)
    row = next(row for row in look() if row.name == "a/ce-etf-0")
    assert (row.state, row.remark, row.total) == ("stopped", "", 35)


@pytest.mark.parametrize(
    "file, expected",
    [
        ("metrics.jsonl", "metrics.jsonl cannot be read"),
        (".lock", "its lock cannot be read"),
    ],
)
def test_what_cannot_be_opened(tmp_path, file, expected):
    folder = make_run(tmp_path / "ce-etf-0", 0)
    (folder / file).mkdir()
    look = watch.Watch([tmp_path]).look
    (row,) = look()
    assert row.state == "damaged" and expected in row.remark
    (folder / file).rmdir()
    (folder / "metrics.jsonl").write_text(lines(3))
    (row,) = look()
    assert (row.state, row.remark, row.metrics.epoch) == ("stopped", "", 3)


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {},
        {"epochs": "x"},
        {"epochs": 3, "seeds": [0], "losses": ["ce"], "heads": 7},
    ],
)
def test_settings_that_say_little(tmp_path, settings):
    make_run(tmp_path / "ce-etf-0", 12)
    if settings is not None:
        (tmp_path / "settings.json").write_text(json.dumps(settings))
    (row,) = watch.Watch([tmp_path]).look()
    assert row.state == "stopped" and row.remark == ""
    assert watch.render([row], "runs", tmp_path, None)


def test_runs_come_and_go(tmp_path):
    look = watch.Watch([tmp_path]).look
    assert look() == []
    assert "No run yet" in shown(look())
    folder = make_run(tmp_path / "a" / "ce-etf-10", 3)
    make_run(tmp_path / "a" / "ce-etf-2", 3)
    assert [row.name for row in look()] == ["a/ce-etf-2", "a/ce-etf-10"]
    (folder / "run.json").unlink()
    assert [row.name for row in look()] == ["a/ce-etf-2"]


def test_names_of_several_folders(tmp_path):
    for sweep in ("one", "two"):
        for rate in ("rate-1e-05", "rate-0.1"):
            make_run(tmp_path / sweep / rate / "ce-etf-0", 1)
    one, two = tmp_path / "one", tmp_path / "two"

    def names(*folders):
        return [row.name for row in watch.Watch(folders).look()]

    assert names(one) == ["rate-1e-05/ce-etf-0", "rate-0.1/ce-etf-0"]
    assert names(one, two, one / "rate-0.1")[0] == "one/rate-1e-05/ce-etf-0"
    assert len(names(one, two, one / "rate-0.1", one)) == 4
    # Both are called rate-0.1.
    assert names(one / "rate-0.1", two / "rate-0.1") == [
        "one/rate-0.1/ce-etf-0",
        "two/rate-0.1/ce-etf-0",
    ]
    assert names(one / "rate-0.1" / "ce-etf-0") == ["ce-etf-0"]


def test_more_runs_than_lines(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        for seed in range(10):
            make_run(folder / f"ce-etf-{seed}", 1, finished=True)
    make_run(tmp_path / "c" / "ce-linear-0", 1)
    with held(tmp_path / "c" / "ce-linear-0"):
        rows = watch.Watch([tmp_path]).look()
    for height in (8, 12, 20, 36):
        text = shown(rows, 80, height).rstrip("\n").splitlines()
        assert len(text) <= height
        listed = sum(part[:1] in ("●", "✓") for part in text[2:])
        folded = [part for part in text if part.startswith("…")]
        counted = sum(int(re.search(r"(\d+) \w+$", f)[1]) for f in folded)
        assert listed + counted == 31
        assert folded and re.match("● +c/ce-linear-0 ", text[6])
    text = shown(rows, 80, 20)
    assert "… c: 10 finished" in text
    assert "… and 30 more: 30 finished" in shown(rows, 80, 8)
    # Everything, where there is a line for everything.
    assert "…" not in shown(rows, 80, 37) + shown(rows, 80)


def make_many(folder, runs=300, epochs=350):
    pieces = [line(e, 2.0 * e) for e in range(1, epochs + 1)]
    for number in range(runs):
        comparison = folder / f"rate-{number // 12}"
        make_run(comparison / f"ce-etf-{number}", 1, "".join(pieces))
    return [path / "metrics.jsonl" for path in sorted(folder.glob("*/*"))]


def bytes_read():
    """By this process, whatever from."""
    text = Path("/proc/self/io").read_text()
    return int(re.search(r"rchar: (\d+)", text)[1])


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="needs Linux' accounting"
)
def test_a_look_at_many_runs_reads_what_is_new(tmp_path):
    paths = make_many(tmp_path)
    look = watch.Watch([tmp_path]).look
    before = bytes_read()
    assert len(look()) == 300
    whole = sum(path.stat().st_size for path in paths)
    assert whole < bytes_read() - before < 1.1 * whole
    before = bytes_read()
    look()
    assert bytes_read() - before < 10_000
    new = line(351, 702.0)
    for path in paths:
        with open(path, "a") as file:
            file.write(new)
    before = bytes_read()
    assert {row.metrics.epoch for row in look()} == {351}
    assert bytes_read() - before < 300 * 3 * len(new) < whole / 50


def test_nothing_is_written_into_the_runs(tmp_path):
    make_all_states(tmp_path)

    def content():
        return {
            path: (path.stat().st_mtime_ns, path.is_file() and path.read_text())
            for path in tmp_path.rglob("*")
        }

    before = content()
    watch.write_page(
        tmp_path.parent / "page.html",
        watch.Watch([tmp_path]).look(),
        "runs",
        None,
    )
    assert content() == before


def test_it_starts_without_keras():
    heavy = "keras tensorflow jax torch nc_keras matplotlib ray".split()
    code = (
        "import sys; from recipes import watch; "
        f"sys.exit(' '.join(sys.modules.keys() & {set(heavy)}) or None)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (result.stderr.strip(), result.returncode) == ("", 0)


def run(*options):
    return subprocess.run(
        [sys.executable, "-m", "recipes.watch", *map(str, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_without_a_terminal_one_table_is_printed(comparison, tmp_path):
    page = tmp_path / "new" / "page.html"
    result = run(comparison, "--html", page)
    assert (result.returncode, result.stderr) == (0, "")
    assert cells(result.stdout, "ce-etf-0")[0] == "20/35"
    assert "when the watch ended" in page.read_text("utf-8")
    assert "\x1b" not in result.stdout


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
        with held(folder):
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


def test_what_the_page_says(rows, tmp_path):
    page = tmp_path / "page.html"
    watch.write_page(page, rows, "digits <b>", 2.5)
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
    rows = watch.Watch([tmp_path / "runs"]).look()
    watch.write_page(page, rows, "runs", None)
    text = page.read_text("utf-8")
    link = '<a href="../runs/a%20run/report.html">a run/ce-etf-0</a>'
    assert re.findall("<a .*?</a>", text) == [link]
    assert str(tmp_path) not in text


def test_a_page_is_never_half_written(tmp_path, monkeypatch, rows):
    page = tmp_path / "page.html"
    watch.write_page(page, rows, "before", None)
    before = page.read_text("utf-8")

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            watch.write_page(page, rows, "after", None)
    assert page.read_text("utf-8") == before
    assert list(tmp_path.iterdir()) == [page]


@pytest.fixture(scope="module")
def browser():
    with screenshot.browser(1280, 900) as browser:
        yield browser


@pytest.fixture
def resized(browser):
    def resize(width, scheme="light"):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": 900,
                "deviceScaleFactor": 1,
                "mobile": width < 500,
            },
        )
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        return browser

    yield resize
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@in_browser
@pytest.mark.parametrize(
    "width, scheme, paper",
    [(1280, "light", "rgb(255, 255, 255)"), (390, "dark", "rgb(21, 23, 26)")],
)
def test_the_page_in_a_browser(resized, rows, tmp_path, width, scheme, paper):
    watch.write_page(tmp_path / "page.html", rows, "/a/long/path" * 6, None)
    page = resized(width, scheme)
    page.get((tmp_path / "page.html").as_uri())
    assert page.get_log("browser") == []
    found = page.execute_script(
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


@in_browser
def test_the_page_loads_itself_again(browser, tmp_path):
    make_run(tmp_path / "runs" / "ce-etf-0", 3)
    page = tmp_path / "page.html"
    look = watch.Watch([tmp_path / "runs"]).look
    watch.write_page(page, look(), "runs", 0.5)
    browser.get(page.as_uri())

    def text():
        return browser.execute_script("return document.body.innerText")

    assert "3/?" in text()
    (tmp_path / "runs" / "ce-etf-0" / "metrics.jsonl").write_text(lines(8))
    # The last of its pages.
    watch.write_page(page, look(), "runs", None)
    assert "8/?" in screenshot.wait_for(text, lambda t: "8/?" in t, 20)
    loaded = "return performance.timeOrigin"
    before = browser.execute_script(loaded)
    time.sleep(1.5)
    assert browser.execute_script(loaded) == before


def test_a_comparison_is_watched_while_it_trains(tmp_path):
    options = ["--epochs", "5", "--widths", "16", "--measurements", "3"]
    options += ["--progress", "False", "--output", tmp_path]
    look = watch.Watch([tmp_path]).look
    seen = {"ce-linear-0": [], "ce-etf-0": []}
    training = subprocess.Popen(
        [sys.executable, "-m", "recipes.digits", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )
    with training:
        while training.poll() is None:
            rows = look()
            for row in rows:
                seen[row.name].append((row.state, row.metrics.epoch, row.left))
            if rows and {row.state for row in rows} == {"finished"}:
                # Before it draws what nobody looks at.
                training.terminate()
            time.sleep(0.05)
        assert training.returncode == -signal.SIGTERM, training.stdout.read()
    for states in seen.values():
        epochs = [epoch for state, epoch, _ in states if state == "running"]
        assert epochs == sorted(epochs) and len(set(epochs)) > 2
        assert any(left for *_, left in states)
    assert "planned" in [state for state, *_ in seen["ce-etf-0"]]
    for row in look():
        last = read_json_lines(row.folder / "metrics.jsonl")[-1]
        assert (row.metrics.epoch, row.total, row.left) == (5, 5, None)
        assert row.metrics.last == {
            "error": 1 - last["nc_accuracy"],
            "running_error": 1 - last["accuracy"],
            "test_error": 1 - last["val_nc_accuracy"],
            "nc1": last["nc1"],
        }
