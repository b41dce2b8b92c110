import numpy as np
import pytest
from tensorboard.util import tensor_util

from nc_keras.writers.files import replace_atomically
from nc_keras.writers.files import writable_directory
from nc_keras.writers.tensorboard import TensorBoardWriter
from tests.helpers import events_of


def test_everything_is_on_disk_before_close(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.scalars(1, {"a": 0.5, "b": float("nan")})
    writer.histogram(1, "h", np.array([1.0, 2.0, 2.0]))
    writer.image(1, "i", np.zeros((4, 6, 3), "uint8"))
    events = events_of(tmp_path)
    assert set(events.Tags()["tensors"]) == {"a", "b", "h", "i"}
    [scalar] = events.Tensors("a")
    assert scalar.step == 1
    assert tensor_util.make_ndarray(scalar.tensor_proto) == 0.5
    [image] = events.Tensors("i")
    assert image.tensor_proto.string_val[:2] == [b"6", b"4"]


def test_more_points_than_tensorboard_keeps_by_default(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    for step in range(1, 351):
        writer.scalars(step, {"a": step})
    assert len(events_of(tmp_path).Tensors("a")) == 350


def test_a_restart_takes_back_the_steps_from_there_on(tmp_path):
    for first, last, value in ((1, 5, 0.0), (4, 6, 1.0), (2, 3, 2.0)):
        writer = TensorBoardWriter(tmp_path, first_step=first)
        for step in range(first, last + 1):
            writer.scalars(step, {"a": value})
    events = events_of(tmp_path).Tensors("a")
    assert [event.step for event in events] == [1, 2, 3]
    values = [tensor_util.make_ndarray(e.tensor_proto) for e in events]
    assert values == [0.0, 2.0, 2.0]


def test_files_of_many_restarts_in_a_second_are_read_in_order(tmp_path):
    for step in range(1, 13):
        writer = TensorBoardWriter(tmp_path, first_step=step)
        writer.scalars(step, {"a": 1.0})
    events = events_of(tmp_path).Tensors("a")
    assert [event.step for event in events] == list(range(1, 13))


def test_replace_atomically_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    replace_atomically(path, lambda p: p.write_text("old"))

    def fail(p):
        p.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writable_directory_is_made_and_left_empty(tmp_path):
    made = writable_directory(tmp_path / "a" / "b")
    assert made.is_dir() and not list(made.iterdir())
