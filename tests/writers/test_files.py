import builtins
import errno
import os
import time

import pytest

from nc_keras.writers import files
from nc_keras.writers.json_lines import JSONLinesWriter
from nc_keras.writers.json_lines import read_json_lines
from nc_keras.writers.snapshots import Snapshot
from nc_keras.writers.snapshots import SnapshotDirectory
from nc_keras.writers.tensorboard import TensorBoardWriter

STALE = OSError(errno.ESTALE, os.strerror(errno.ESTALE))


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, without waiting."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


class Away:
    """A function that fails some times before it works."""

    def __init__(self, function, times, error=STALE):
        self.function, self.left, self.error = function, times, error

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return self.function(*args, **kwargs)


class HalfWritten:
    """A file that the storage loses after a part of what is written."""

    def __init__(self, file, away):
        self.file, self.away = file, away

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.away(lambda: None)
        return self.file.write(data[len(data) // 2 :])


def breaking(monkeypatch, times, error=STALE):
    """Makes files that are appended to lose a part, so many times."""
    away = Away(lambda work: work(), times, error)
    real = builtins.open

    def half(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return HalfWritten(file, away) if mode == "ab" else file

    monkeypatch.setattr(builtins, "open", half)


def test_rows_are_whole_though_the_storage_was_away(
    tmp_path, monkeypatch, waits
):
    writer = JSONLinesWriter(tmp_path / "rows")
    writer.write({"epoch": 1, "nc1": 0.5})
    with monkeypatch.context() as patch:
        breaking(patch, 3)
        with pytest.warns(
            RuntimeWarning, match="Stale file handle. It is tried for 60 s"
        ):
            writer.write({"epoch": 2, "nc1": 0.25})
    writer.write({"epoch": 3, "nc1": 0.125})
    rows = read_json_lines(tmp_path / "rows", every_epoch=True)
    assert [row["nc1"] for row in rows] == [0.5, 0.25, 0.125]
    assert waits == [1, 2, 4]


def test_events_are_whole_though_the_storage_was_away(
    tmp_path, monkeypatch, waits
):
    from tensorboard.backend.event_processing import event_file_loader

    writer = TensorBoardWriter(tmp_path)
    with monkeypatch.context() as patch:
        breaking(patch, 2)
        with pytest.warns(
            RuntimeWarning, match="Stale file handle. It is tried for 60 s"
        ):
            writer.scalars(1, {"loss": 1.0})
    writer.scalars(2, {"loss": 0.5})
    writer.sync()
    (path,) = tmp_path.iterdir()
    events = list(event_file_loader.EventFileLoader(str(path)).Load())
    assert [e.step for e in events if e.summary.value] == [1, 2]
    assert waits == [1, 2]


def test_it_ends_if_the_storage_stays_away(tmp_path, monkeypatch, waits):
    writer = JSONLinesWriter(tmp_path / "rows")
    breaking(monkeypatch, 100)
    with (
        pytest.warns(RuntimeWarning, match="tried for 60 s"),
        pytest.raises(OSError, match="handle. The storage did not answer"),
    ):
        writer.write({"epoch": 1})
    assert sum(waits) == 60


def test_what_is_wrong_is_not_tried_again(tmp_path, monkeypatch, waits):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", Away(os.fsync, 1, full))
    with pytest.raises(OSError, match="No space left on device"):
        files.replace_atomically(
            tmp_path / "file", lambda path: path.write_text("x")
        )
    assert not waits and not list(tmp_path.iterdir())


def test_a_file_is_replaced_once_the_storage_is_back(
    tmp_path, monkeypatch, waits
):
    monkeypatch.setattr(os, "replace", Away(os.replace, 2))
    with pytest.warns(
        RuntimeWarning, match="Stale file handle. It is tried for 60 s"
    ):
        files.replace_atomically(
            tmp_path / "file", lambda path: path.write_text("x")
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert waits == [1, 2]


def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(
    tmp_path, monkeypatch, waits
):
    snapshots = SnapshotDirectory(tmp_path)
    for epoch in (1, 2):
        snapshots.save(Snapshot(epoch, [], {}))
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", Away(os.listdir, 1))
        with pytest.warns(
            RuntimeWarning, match="Stale file handle. It is tried for 60 s"
        ):
            assert snapshots.newest().epoch == 2
    path_stat = type(tmp_path).stat
    monkeypatch.setattr(type(tmp_path), "stat", Away(path_stat, 100))
    with (
        pytest.warns(RuntimeWarning, match="tried for 60 s"),
        pytest.raises(OSError, match="Cannot read .*epoch-000002.npz: Stale"),
    ):
        snapshots.newest()


def test_what_is_cut_off_is_taken_back(tmp_path, monkeypatch):
    writer = JSONLinesWriter(tmp_path / "rows")
    writer.write({"epoch": 1})
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        breaking(patch, 1, full)
        with pytest.raises(OSError, match="No space left on device"):
            writer.write({"epoch": 2})
    writer.write({"epoch": 3})
    rows = read_json_lines(tmp_path / "rows")
    assert [row["epoch"] for row in rows] == [1, 3]


def test_what_the_system_forgot_is_not_taken_for_written(
    tmp_path, monkeypatch, waits
):
    writer = JSONLinesWriter(tmp_path / "rows")
    monkeypatch.setattr(os, "fsync", Away(os.fsync, 1))
    with pytest.raises(OSError, match="rows: Stale file handle"):
        writer.sync()
    assert not waits


def test_paths_do_not_follow_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows, events = JSONLinesWriter("rows"), TensorBoardWriter(".")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    rows.write({"epoch": 1})
    events.scalars(1, {"loss": 1.0})
    assert not list((tmp_path / "other").iterdir())
