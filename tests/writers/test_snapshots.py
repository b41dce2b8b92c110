"""Snapshots that are damaged, or not ours: the one before is used."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

from nc_keras.callbacks import Checkpoint
from nc_keras.writers.snapshots import Snapshot
from nc_keras.writers.snapshots import SnapshotDirectory

RECORD = {"loss": 0.5, "state": {"best": np.arange(3.0), "text": "x"}}


def arrays():
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(4, 3)).astype("float32"),
        np.asfortranarray(rng.normal(size=(2, 3))),
        np.array(7, "int64"),
        np.zeros((0, 5), "float32"),
        np.array([True, False]),
    ]


@pytest.fixture
def two(tmp_path):
    snapshots = SnapshotDirectory(tmp_path)
    for epoch in (1, 2):
        snapshots.save(Snapshot(epoch, arrays(), RECORD))
    return snapshots


def assert_whole(snapshot, epoch):
    assert snapshot.epoch == epoch
    for one, other in zip(snapshot.arrays, arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype and one.flags.writeable
    assert snapshot.record["loss"] == 0.5
    np.testing.assert_array_equal(snapshot.record["state"]["best"], [0, 1, 2])


def members(path):
    with zipfile.ZipFile(path) as content:
        return {name: content.read(name) for name in content.namelist()}


def pack(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as content:
        for name, data in entries.items():
            content.writestr(name, data)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_what_is_written_is_read(two):
    assert_whole(two.newest(), 2)


def flips(whole):
    """Positions and bits: some anywhere, and all that say how to read."""
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 150):
        yield position, rng.integers(8)
    # Of each array in the directory: whether it is encrypted, or deflated.
    for entry in re.finditer(b"PK\x01\x02", whole):
        for position in (entry.start() + 8, entry.start() + 10):
            yield from ((position, bit) for bit in range(8))
    for position in range(len(whole) - 22, len(whole)):
        yield position, rng.integers(8)


def test_any_flipped_bit_leaves_the_one_before(two, capsys):
    path = two.paths[-1]
    whole = path.read_bytes()
    epochs = []
    for position, bit in flips(whole):
        content = bytearray(whole)
        content[position] ^= 1 << int(bit)
        path.write_bytes(content)
        found = two.newest()
        # Some bits say nothing: of the time, or of the system.
        epochs.append(found.epoch)
        assert_whole(found, found.epoch)
    assert set(epochs) == {1, 2} and np.mean(epochs) < 1.5
    said = capsys.readouterr().out
    assert "is damaged and is not used" in said and "encrypted" in said


@pytest.mark.parametrize(
    "kind", ["bomb", "shape", "negative", "object", "twice"]
)
def test_files_that_are_not_ours(two, kind, capsys):
    path = two.paths[-1]
    entries = members(path)
    if kind == "bomb":
        entries["000000.npy"] = npy(np.zeros(10**7))
        pack(path, entries, zipfile.ZIP_DEFLATED)
    elif kind == "object":
        entries["000000.npy"] = npy(np.array([{}], dtype=object))
        pack(path, entries)
    elif kind == "twice":
        with pytest.warns(UserWarning, match="Duplicate name"):
            with zipfile.ZipFile(path, "a") as content:
                content.writestr("000000.npy", npy(np.zeros((4, 3))))
    else:
        shape = b"(1000000000000,)" if kind == "shape" else b"(-1, -12)"
        data = entries["000000.npy"]
        entries["000000.npy"] = data.replace(
            b"(4, 3), }" + b" " * (len(shape) - 6), shape + b", }"
        )
        assert len(entries["000000.npy"]) == len(data)
        pack(path, entries)
    assert_whole(two.newest(), 1)
    assert f"{path} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["fewer", "more", "dtype", "renamed", "count"])
def test_files_that_were_tampered_with(two, kind):
    path = two.paths[-1]
    entries = members(path)
    if kind == "fewer":
        del entries["000005.npy"]
    elif kind == "more":
        entries["000006.npy"] = npy(np.zeros(3))
    elif kind == "dtype":
        entries["000000.npy"] = npy(np.zeros((4, 3), "float64"))
    elif kind == "count":
        with np.load(path) as content:
            record = json.loads(str(content["record"]))
        record["count"] = 9
        entries["record.npy"] = npy(np.array(json.dumps(record)))
    pack(path, entries)
    if kind == "renamed":
        path.rename(path.with_name("epoch-000009.npz"))
    assert_whole(two.newest(), 1)


def test_fewer_variables_than_the_network_has(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", loss="mse")
    x = np.zeros((8, 4))
    checkpoint = Checkpoint(tmp_path, max_cost=float("inf"))
    model.fit(x, x[:, :3], epochs=2, callbacks=[checkpoint], verbose=0)
    (path,) = tmp_path.iterdir()
    snapshot = SnapshotDirectory(tmp_path).newest()
    fewer = Snapshot(1, snapshot.arrays[:-1], snapshot.record)
    SnapshotDirectory(tmp_path).save(fewer)
    with pytest.raises(ValueError, match="other arrays than its record"):
        Checkpoint(tmp_path).restore(model)


def test_epochs_beyond_a_million(tmp_path):
    snapshots = SnapshotDirectory(tmp_path)
    for epoch in (999_998, 999_999, 1_000_000, 1_000_001):
        snapshots.save(Snapshot(epoch, [np.ones(2)], {}))
        assert snapshots.newest().epoch == epoch
    names = [path.name for path in snapshots.paths]
    assert names == ["epoch-1000000.npz", "epoch-1000001.npz"]


def test_other_files_in_the_directory_stay(two):
    other = two.directory / "epoch-last.npz"
    other.write_bytes(b"mine")
    two.save(Snapshot(3, arrays(), RECORD))
    assert other.read_bytes() == b"mine" and two.newest().epoch == 3
