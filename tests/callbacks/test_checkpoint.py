import errno
import importlib.metadata
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import (
    EventMultiplexer,
)

import nc_keras
from nc_keras.callbacks import checkpoint as module
from nc_keras.callbacks.checkpoint import Checkpoint
from tests.callbacks import resumable
from tests.helpers import rows_of

# Each trains, is interrupted, and trains again.
KILLS = 4
CHAINS = 2


class Interrupt(keras.callbacks.Callback):
    """Stops a training as Ctrl-C does, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.current = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.current == self.epoch and batch == 2:
            raise KeyboardInterrupt


def curves(folder):
    """What TensorBoard reads of a run: steps and values of every tag."""
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    return {
        (run, tag): [
            (event.step, event.tensor_proto.SerializeToString())
            for event in runs.Tensors(run, tag)
        ]
        for run, tags in runs.Runs().items()
        for tag in tags["tensors"]
        # A part that begins anew says again which panels there are.
        if not tag.startswith(("custom_scalars", "_hparams_"))
    }


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    model, history, _ = resumable.train(folder, epochs=8)
    return folder, model, history


def interrupted(folder, epoch):
    with pytest.raises(KeyboardInterrupt):
        resumable.train(folder, epochs=8, extra=[Interrupt(epoch)])


@pytest.mark.always
def test_goes_on_bit_for_bit(whole, tmp_path):
    folder, model, history = whole
    for epoch in (2, 5):
        interrupted(tmp_path, epoch)
        assert Checkpoint(tmp_path / "checkpoints").finished_epochs == epoch
    resumed, resumed_history, checkpoint = resumable.train(tmp_path, epochs=8)
    assert_same_weights(resumed, model)
    assert resumed_history.history == history.history
    assert resumed_history.epoch == history.epoch == list(range(8))
    assert rows_of(tmp_path) == rows_of(folder)
    assert curves(tmp_path) == curves(folder)
    checkpoint.delete()
    assert not (tmp_path / "checkpoints").exists()


def test_random_numbers_of_python_and_numpy_come_back(tmp_path):
    class Draw(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            drawn.append((random.random(), np.random.rand()))

    x, y = np.ones((8, 4)), np.arange(8) % 2
    results = []
    for stop in (None, 3):
        drawn = []
        keras.utils.set_random_seed(0)
        for epochs in [6] if stop is None else [stop, 6]:
            checkpoint = Checkpoint(tmp_path / str(stop), max_cost=math.inf)
            model = nc_keras.models.MLP((4,), 2, widths=(8,))
            model.compile("sgd", loss=nc_keras.losses.CE())
            extra = [Interrupt(stop)] if epochs == stop else []
            try:
                model.fit(
                    *(x, y),
                    batch_size=2,
                    epochs=6,
                    initial_epoch=checkpoint.finished_epochs,
                    callbacks=[*extra, checkpoint, Draw()],
                    verbose=0,
                )
            except KeyboardInterrupt:
                random.seed(99)
                # The epoch that was cut short is done again.
                drawn.pop()
        results.append(drawn)
    assert results[0] == results[1]


def test_keras_callbacks_go_on(tmp_path):
    x, y = np.ones((8, 4)), np.arange(8) % 2
    stops = []
    for parts in ([20], [3, 20]):
        folder = tmp_path / str(len(parts))
        for part in parts:
            early = keras.callbacks.EarlyStopping(
                "loss", patience=5, min_delta=10, restore_best_weights=True
            )
            checkpoint = Checkpoint(folder, [early], max_cost=math.inf)
            model = nc_keras.models.MLP((4,), 2, widths=(8,))
            model.compile("sgd", loss=nc_keras.losses.CE())
            extra = [Interrupt(3)] if part == 3 else []
            try:
                model.fit(
                    *(x, y),
                    batch_size=2,
                    epochs=20,
                    initial_epoch=checkpoint.finished_epochs,
                    callbacks=[early, *extra, checkpoint],
                    verbose=0,
                )
            except KeyboardInterrupt:
                continue
        stops.append((early.stopped_epoch, early.best_epoch, early.best))
        assert len(early.best_weights) == len(model.get_weights())
    assert stops[0][:2] == stops[1][:2] == (5, 0)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    whole, tmp_path, capsys
):
    _, model, _ = whole
    interrupted(tmp_path, 4)
    old, new = sorted((tmp_path / "checkpoints").iterdir())
    new.write_bytes(new.read_bytes()[:-200])
    resumed, _, _ = resumable.train(tmp_path, epochs=8)
    assert f"{new} is damaged" in capsys.readouterr().out
    assert_same_weights(resumed, model)


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_found(tmp_path, position, capsys):
    interrupted(tmp_path, 1)
    (path,) = (tmp_path / "checkpoints").iterdir()
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0xFF
    path.write_bytes(content)
    assert Checkpoint(tmp_path / "checkpoints").finished_epochs == 0
    assert "is damaged" in capsys.readouterr().out


def test_no_checkpoint_that_is_whole_is_a_new_beginning(whole, tmp_path):
    _, model, _ = whole
    interrupted(tmp_path, 1)
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(b"")
    resumed, _, _ = resumable.train(tmp_path, epochs=8)
    assert_same_weights(resumed, model)


def test_another_training_is_refused(tmp_path, monkeypatch):
    interrupted(tmp_path, 2)
    with pytest.raises(ValueError, match="config.epochs is 8 there and 9 here"):
        resumable.train(tmp_path, epochs=9)
    monkeypatch.setattr(keras, "__version__", "2.0")
    with pytest.raises(ValueError, match="keras is 3.* there and 2.0 here"):
        resumable.train(tmp_path, epochs=8)
    monkeypatch.undo()
    monkeypatch.setattr(module, "_FORMAT", 7)
    with pytest.raises(ValueError, match="format is 1 there and 7 here"):
        resumable.train(tmp_path, epochs=8)


def test_the_version_is_known_of_any_distribution(tmp_path, monkeypatch):
    """`tensorflow-cpu` is a tensorflow, though its distribution is another."""

    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", unknown)
    model = resumable.make_model()
    backend = Checkpoint(tmp_path)._identity(model)["backend"]
    assert re.fullmatch(r"\w+ \d+\.\d+\..*", backend)


def test_another_network_is_refused(tmp_path):
    interrupted(tmp_path, 2)
    checkpoint = Checkpoint(tmp_path / "checkpoints")
    model = nc_keras.models.MLP((64,), 10, widths=(33,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    with pytest.raises(ValueError, match="variables has .* entries there"):
        checkpoint.restore(model)
    other = resumable.make_model()
    other.compile("adam", loss="mse")
    with pytest.raises(ValueError, match="optimizer is SGD there and Adam"):
        checkpoint.restore(other)


def test_the_first_epoch_must_be_passed_to_fit(tmp_path):
    x, y = np.ones((8, 4)), np.arange(8) % 2
    for _ in range(2):
        model = nc_keras.models.MLP((4,), 2, widths=(8,))
        model.compile("sgd", loss=nc_keras.losses.CE())
        checkpoint = Checkpoint(tmp_path, max_cost=math.inf)
        options = dict(epochs=3, callbacks=[checkpoint], verbose=0)
        if not checkpoint.finished_epochs:
            model.fit(x, y, **options)
            continue
        with pytest.raises(ValueError, match="initial_epoch=checkpoint.fin"):
            model.fit(x, y, **options)


def test_a_model_that_is_not_built_is_refused(tmp_path):
    interrupted(tmp_path, 2)
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="must be built"):
        Checkpoint(tmp_path / "checkpoints").restore(model)


@pytest.mark.parametrize("swaps", [True, False])
def test_weights_that_another_callback_swaps(tmp_path, swaps):
    """The weights that are trained are kept, not their moving averages."""

    def data(epoch):
        x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        while True:
            order = np.random.default_rng(epoch).permutation(64)
            for rows in np.split(order, 4):
                yield x[rows], rows % 3
            epoch += 1

    def train(folder, *extra):
        keras.utils.set_random_seed(0)
        model = nc_keras.models.MLP((4,), 3, widths=(8,))
        sgd = nc_keras.optimizers.SGD(0.05, 0.9, use_ema=True, ema_momentum=0.9)
        model.compile(sgd, loss=nc_keras.losses.CE())
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        checkpoint = Checkpoint(folder, max_cost=math.inf)
        begin = checkpoint.finished_epochs
        model.fit(
            data(begin),
            steps_per_epoch=4,
            epochs=6,
            initial_epoch=begin,
            shuffle=False,
            callbacks=[*[swap] * swaps, checkpoint, *extra],
            verbose=0,
        )
        return model

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", Interrupt(3))
    assert Checkpoint(tmp_path / "killed").finished_epochs == 3
    assert_same_weights(train(tmp_path / "killed"), whole)


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                weight = self.model.trainable_weights[0]
                weight.assign(np.full(weight.shape, np.nan))

    resumable.train(tmp_path, epochs=5, extra=[Spoil()])
    assert Checkpoint(tmp_path / "checkpoints").finished_epochs == 2


def test_writing_takes_its_share_of_the_time_and_no_more(tmp_path, monkeypatch):
    now = [0.0]

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            now[0] += 1.0

    def save(self, snapshot):
        saved.append(snapshot.epoch)
        now[0] += 0.125

    saved = []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module.SnapshotDirectory, "save", save)
    x, y = np.ones((8, 4)), np.arange(8) % 2
    model = nc_keras.models.MLP((4,), 2, widths=(8,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    checkpoint = Checkpoint(tmp_path, max_cost=1 / 64)
    model.fit(x, y, epochs=20, callbacks=[Clock(), checkpoint], verbose=0)
    # An eighth of a second is a 64th of eight.
    assert saved == [1, 9, 17]


def test_a_full_disk_leaves_the_checkpoint_before(whole, tmp_path, monkeypatch):
    def full(path, **arrays):
        if int(path.stem[-6:]) > 2:
            Path(path).write_bytes(b"a part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(path, **arrays)

    savez = np.savez
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left on device.*Free on") as e:
        resumable.train(tmp_path, epochs=8)
    assert "checkpoints/epoch-0000" in str(e.value)
    monkeypatch.undo()
    assert not list((tmp_path / "checkpoints").glob(".*"))
    assert Checkpoint(tmp_path / "checkpoints").finished_epochs in (1, 2)
    resumed, _, _ = resumable.train(tmp_path, epochs=8)
    assert_same_weights(resumed, whole[1])


def test_a_clock_that_is_put_back(whole, tmp_path, monkeypatch):
    interrupted(tmp_path, 3)
    present = time.time()
    monkeypatch.setattr(time, "time", lambda: present - 86_400)
    resumable.train(tmp_path, epochs=8)
    assert curves(tmp_path) == curves(whole[0])


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="Received: keep=0"):
        Checkpoint(tmp_path, keep=0)
    with pytest.raises(ValueError, match="max_cost=0"):
        Checkpoint(tmp_path, max_cost=0)
    with pytest.raises(TypeError, match="Received: History"):
        Checkpoint(tmp_path, [keras.callbacks.History()])


def start(folder):
    return subprocess.Popen(
        [sys.executable, resumable.__file__, str(folder)],
        env=os.environ
        | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            # JAX compiles once for all of them.
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def killed_again_and_again(folder, kills, seed):
    """Kills a training at random moments, and returns how many went on."""
    rng, log, resumed = random.Random(seed), folder / "metrics.jsonl", 0
    checkpoints = folder / "checkpoints"
    for kill in range(kills):
        process = start(folder)
        first = None
        while process.poll() is None:
            size = log.stat().st_size if log.exists() else 0
            first = size if first is None else min(first, size)
            # On a busy machine little follows upon the first row.
            if size > first and (kill % 2 == 0 or checkpoints.exists()):
                break
            time.sleep(0.002)
        time.sleep(0.15 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        resumed += checkpoints.exists() and any(checkpoints.iterdir())
    return resumed


@pytest.mark.always
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="repeatable on request only"
)
def test_killed_at_random_moments(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    folders = [tmp_path / str(chain) for chain in range(CHAINS)]
    for folder in folders:
        folder.mkdir()
    with futures.ThreadPoolExecutor(CHAINS) as pool:
        resumed = pool.map(
            killed_again_and_again,
            folders,
            [KILLS // CHAINS] * CHAINS,
            range(seed, seed + CHAINS),
        )
        # Of a slow start nothing may be left but the next start.
        assert sum(resumed) >= 1
    reference = tmp_path / "whole"
    reference.mkdir()
    for folder in (reference, *folders):
        output, _ = start(folder).communicate(timeout=300)
        assert (folder / "done").exists(), output
    for folder in folders:
        for name in ("weights.npz", "history.npz"):
            expected, actual = np.load(reference / name), np.load(folder / name)
            assert expected.files == actual.files
            for key in expected.files:
                np.testing.assert_array_equal(actual[key], expected[key])
        assert rows_of(folder) == rows_of(reference)
        assert curves(folder) == curves(reference)
