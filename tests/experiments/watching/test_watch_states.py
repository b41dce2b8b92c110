import json
import os
import re
from pathlib import Path

import pytest

from nc_keras.experiments.locks import hold
from nc_keras.experiments.watching.page import render
from nc_keras.experiments.watching.states import Watch
from nc_keras.experiments.watching.states import time_left
from tests.experiments.watching.watched import every_state
from tests.experiments.watching.watched import line
from tests.experiments.watching.watched import lines
from tests.experiments.watching.watched import make_run
from tests.experiments.watching.watched import make_settings
from tests.experiments.watching.watched import shown


def test_every_state(tmp_path):
    with every_state(tmp_path) as folder:
        rows = Watch([folder]).look()
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
    look = Watch([tmp_path]).look
    assert look()[0].state == "stopped"
    with hold(folder):
        assert look()[0].state == "running"
    assert look()[0].state == "stopped"
    assert look()[0].left is None


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
    look = Watch([tmp_path]).look
    assert time_left(look()) is None
    with hold(one):
        first, *_ = rows = look()
        assert first.left == pytest.approx(25 * 3)
        # The run to come takes as long an epoch.
        assert time_left(rows) == pytest.approx((25 + 35) * 3)
        with hold(two):
            # Two folders at the same time.
            assert time_left(look()) == pytest.approx((25 + 35) * 3)
    with hold(two):
        assert time_left(look()) == pytest.approx(30 * 2)


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
    look = Watch([tmp_path]).look
    assert len(look()) == 4
    with hold(run):
        assert time_left(look()) == pytest.approx(30 * 2)
        with hold(sweep):
            assert time_left(look()) == pytest.approx((30 + 20 + 35) * 2)
            with hold(other):
                # Two at once.
                left = (30 + 20 + 35) * 2 / 2
                assert time_left(look()) == pytest.approx(left)


def test_one_epoch_has_a_pace(tmp_path):
    make_settings(tmp_path)
    folder = make_run(tmp_path / "ce-etf-0", 1, line(1, 8.0))
    with hold(folder):
        (row,) = Watch([tmp_path]).look()
    assert row.left == 8.0 * 34


@pytest.mark.parametrize(
    "file, text, expected",
    [
        ("ce-etf-0/run.json", "[1]", "run.json cannot be read"),
        ("ce-etf-0/run.json", '{"loss', "run.json cannot be read"),
        ("ce-etf-0/metrics.jsonl", "{}\n", "there is no 'epoch'"),
        ("ce-etf-0/metrics.jsonl", '{"epoch": 0}\n', "there is an epoch 0"),
        ("ce-etf-0/metrics.jsonl", '{"epoch": "x"}\n', "there is an epoch 'x'"),
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
    look = Watch([tmp_path]).look
    good = (tmp_path / "a" / file).read_text()
    (tmp_path / "a" / file).write_text(text, "latin-1")
    damaged, sound = look()
    assert (damaged.name, damaged.state) == ("a/ce-etf-0", "damaged")
    assert expected in damaged.remark and expected in shown([damaged])
    assert sound.state == "finished"
    # It may run all the same.
    with hold(folder):
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
    look = Watch([tmp_path]).look
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
    (row,) = Watch([tmp_path]).look()
    assert row.state == "stopped" and row.remark == ""
    assert render([row], "runs", tmp_path, None)


def test_runs_come_and_go(tmp_path):
    look = Watch([tmp_path]).look
    assert look() == []
    assert "No run yet" in shown(look())
    folder = make_run(tmp_path / "a" / "ce-etf-10", 3)
    make_run(tmp_path / "a" / "ce-etf-2", 3)
    assert [row.name for row in look()] == ["a/ce-etf-2", "a/ce-etf-10"]
    for name in ("run.json", "metrics.jsonl"):
        (folder / name).unlink()
    assert [row.name for row in look()] == ["a/ce-etf-2"]


def test_names_of_several_folders(tmp_path):
    for sweep in ("one", "two"):
        for rate in ("rate-1e-05", "rate-0.1"):
            make_run(tmp_path / sweep / rate / "ce-etf-0", 1)
    one, two = tmp_path / "one", tmp_path / "two"

    def names(*folders):
        return [row.name for row in Watch(folders).look()]

    assert names(one) == ["rate-1e-05/ce-etf-0", "rate-0.1/ce-etf-0"]
    assert names(one, two, one / "rate-0.1")[0] == "one/rate-1e-05/ce-etf-0"
    assert len(names(one, two, one / "rate-0.1", one)) == 4
    # Both are called rate-0.1.
    assert names(one / "rate-0.1", two / "rate-0.1") == [
        "one/rate-0.1/ce-etf-0",
        "two/rate-0.1/ce-etf-0",
    ]
    assert names(one / "rate-0.1" / "ce-etf-0") == ["ce-etf-0"]


def bytes_read():
    """By this process, whatever from."""
    text = Path("/proc/self/io").read_text()
    return int(re.search(r"rchar: (\d+)", text)[1])


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="needs Linux' accounting"
)
def test_a_look_at_many_runs_reads_what_is_new(tmp_path):
    text = "".join(line(epoch, 2.0 * epoch) for epoch in range(1, 351))
    for number in range(100):
        make_run(tmp_path / f"a-{number // 9}" / f"ce-etf-{number}", 1, text)
    paths = sorted(tmp_path.glob("*/*/metrics.jsonl"))
    look = Watch([tmp_path]).look
    before = bytes_read()
    assert len(look()) == 100
    whole = sum(path.stat().st_size for path in paths)
    assert whole < bytes_read() - before < 1.1 * whole
    new = line(351, 702.0)
    for expected in (350, 351):
        before = bytes_read()
        assert {row.metrics.epoch for row in look()} == {expected}
        assert bytes_read() - before < whole / 50
        for path in paths:
            with open(path, "a") as file:
                file.write(new)


def test_a_link_in_place_of_the_holder_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock-holder").symlink_to(precious)
    with hold(folder):
        assert precious.read_text() == "mine"
        assert str(os.getpid()) in (folder / ".lock-holder").read_text()
    assert precious.read_text() == "mine"
    assert not (folder / ".lock-holder").exists()
