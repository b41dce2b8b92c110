"""What other callbacks and readers make of what is put into `logs`."""

import csv
import math

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks import NeuralCollapse
from nc_keras.callbacks.schedule import is_measured
from nc_keras.callbacks.schedule import loss_of
from tests.helpers import compiled
from tests.helpers import events_of
from tests.helpers import rows_of


class Say(keras.callbacks.Callback):
    """Puts values into `logs`, as metrics and callbacks of others do."""

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.values)


class Stop(keras.callbacks.Callback):
    """Stops a training as Ctrl-C does, before an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


class Watch(keras.callbacks.Callback):
    """Remembers in which epochs a value was seen as measured."""

    def __init__(self, key="nc1"):
        super().__init__()
        self.key, self.seen = key, []

    def on_epoch_end(self, epoch, logs=None):
        if is_measured(logs, self.key):
            self.seen.append(epoch + 1)


def examples(count=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 4)).astype("float32")
    return x, np.arange(count) % 3


def network(metrics=()):
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    return compiled(model, metrics=metrics)


def fit(callbacks, model=None, **kwargs):
    options = {"epochs": 6, "verbose": 0} | kwargs
    model = model or network()
    return model.fit(*examples(), callbacks=callbacks, **options).history


def test_logs_of_any_kind(tmp_path):
    said = {
        "array": np.array([0.5, np.nan]),
        "tensor": keras.ops.convert_to_tensor([[1.0, 2.0]]),
        "scalar": np.float32(0.25),
        "zero_dim": np.array(3),
        "string": "rising",
        "nothing": None,
        "listed": [1, 2.5],
        "running_text": "no number",
        "running_scalar": np.float32(0.75),
    }
    checkpoint = nc_keras.callbacks.Checkpoint(
        tmp_path / "checkpoints", max_cost=math.inf
    )
    x, y = examples()
    panels = NCTensorBoard(tmp_path, x, y)
    fit([Say(**said), panels, checkpoint], epochs=3)
    row = rows_of(tmp_path)[-1]
    assert {key: row[key] for key in said} == {
        "array": [0.5, None],
        "tensor": [[1.0, 2.0]],
        "scalar": 0.25,
        "zero_dim": 3,
        "string": "rising",
        "nothing": None,
        "listed": [1, 2.5],
        "running_text": "no number",
        "running_scalar": 0.75,
    }
    events = events_of(tmp_path / "nc_train")
    tags = events.Tags()["tensors"]
    assert "running/scalar" in tags and "running/text" not in tags
    kept = nc_keras.callbacks.Checkpoint(tmp_path / "checkpoints")
    assert kept.finished_epochs == 2


def test_a_metric_of_several_values(tmp_path):
    x, y = examples()
    one_hot = np.eye(3, dtype="float32")[y]
    model = network(metrics=[keras.metrics.F1Score()])
    panels = NCTensorBoard(tmp_path, x, y)
    model.fit(x, one_hot, epochs=2, callbacks=[panels], verbose=0)
    assert [len(row["f1_score"]) for row in rows_of(tmp_path)] == [3, 3]
    terminal = nc_keras.callbacks.TerminalPhase(monitor="f1_score")
    with pytest.raises(ValueError, match="one number.*monitor='f1_score'"):
        model.fit(x, one_hot, callbacks=[terminal], verbose=0)


@pytest.mark.parametrize("schedule", [[2, 5], 4, "log"])
def test_every_epoch_has_every_value_or_nan(schedule):
    pandas = pytest.importorskip("pandas")
    x, y = examples()
    callbacks = [
        NeuralCollapse(x, y, (x, y), epochs=schedule),
        nc_keras.callbacks.WeightSpectrum(epochs=schedule),
        nc_keras.callbacks.NormalizedMargins(x, y, epochs=schedule),
        nc_keras.callbacks.LayerwiseCollapse(x, y, epochs=schedule),
        nc_keras.callbacks.SignalToNoise(x, y, epochs=schedule),
    ]
    keys = ["nc1", "val_nc1", "rank", "rho", "nc1/relu_1", "snr_min"]
    watches = [Watch(key) for key in keys]
    model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8,))
    model.compile(nc_keras.optimizers.SGD(0.05), loss=nc_keras.losses.MSE())
    frame = pandas.DataFrame(fit([*callbacks, *watches], model, epochs=8))
    assert frame.shape[0] == 8
    assert frame.dtypes.unique().tolist() == [np.dtype("float64")]
    expected = {4: [1, 4, 8], "log": [*range(1, 9)]}
    expected = [1, 2, 5] if schedule == [2, 5] else expected[schedule]
    for watch in watches:
        assert watch.seen == expected, watch.key
        measured = np.flatnonzero(frame[watch.key].notna()) + 1
        assert measured.tolist() == expected, watch.key


def test_files_and_panels_hold_measured_epochs_only(tmp_path):
    x, y = examples()
    rank = nc_keras.callbacks.WeightSpectrum(epochs=[4])
    panels = NCTensorBoard(tmp_path, x, y, epochs=[3])
    fit([rank, panels])
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows if "nc1" in row] == [1, 3]
    assert [row["epoch"] for row in rows if "rank" in row] == [1, 4]
    assert all("loss" in row and "terminal_phase" in row for row in rows)
    events = events_of(tmp_path / "nc_train")
    assert [event.step for event in events.Tensors("nc/nc1")] == [1, 3]
    assert [event.step for event in events.Tensors("loss")] == [*range(1, 7)]


def test_csv_logger_keeps_its_columns_over_a_resume(tmp_path):
    x, y = examples()
    path = tmp_path / "log.csv"
    for last in (3, 6):
        collapse = NeuralCollapse(x, y, False, epochs=[2, 6])
        checkpoint = nc_keras.callbacks.Checkpoint(
            tmp_path / "checkpoints", [collapse], max_cost=math.inf
        )
        log = keras.callbacks.CSVLogger(path, append=True)
        model = network(metrics=["accuracy"])
        begin = checkpoint.finished_epochs
        assert begin == (0 if last == 3 else 3)
        try:
            fit(
                [collapse, log, checkpoint, Stop(last)],
                model,
                initial_epoch=begin,
                validation_data=(x, y),
            )
        except KeyboardInterrupt:
            log.on_train_end()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [*range(6)]
    measured = [row["nc1"] != "nan" for row in rows]
    assert measured == [True, True, False, False, False, True]
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in rows)
    assert float(rows[-1]["nc1"]) == collapse.measure()["nc1"]


def test_early_stopping_and_plateaus_wait_for_measurements():
    x, y = examples()

    def stop(**kwargs):
        return keras.callbacks.EarlyStopping(
            "nc1", mode="min", min_delta=1e9, **kwargs
        )

    for patience, schedule, ended in ((2, 4, 8), (1, [5, 9], 5)):
        early = nc_keras.callbacks.only_measured(stop(patience=patience))
        nc = NeuralCollapse(x, y, epochs=schedule)
        # The first is the best; 4 and 8, say, do not better it.
        history = fit([nc, early], epochs=30)
        assert len(history["loss"]) == ended
        assert early.best_epoch == 0 and early.best == history["nc1"][0]
    # Without, the patience is one of epochs.
    nc = NeuralCollapse(x, y, epochs=10)
    early = stop(patience=4)
    assert len(fit([nc, early], epochs=30)["loss"]) == 5

    plateau = nc_keras.callbacks.only_measured(
        keras.callbacks.ReduceLROnPlateau(
            "nc1", mode="min", min_delta=1e9, patience=1, factor=0.5
        )
    )
    nc = NeuralCollapse(x, y, epochs=[3, 6])
    rates = [0.05] * 3 + [0.025] * 3

    class Rates(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rate = self.model.optimizer.learning_rate
            found.append(float(keras.ops.convert_to_numpy(rate)))

    found = []
    fit([nc, plateau, Rates()])
    np.testing.assert_allclose(found, rates)


def test_only_measured_takes_what_monitors():
    with pytest.raises(ValueError, match="Received: History"):
        nc_keras.callbacks.only_measured(keras.callbacks.History())


def test_model_checkpoint_saves_the_best_and_names_every_epoch(tmp_path):
    x, y = examples()
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best-{epoch}.weights.h5",
        "nc1",
        mode="min",
        save_best_only=True,
        save_weights_only=True,
    )
    every = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch} {nc1:.3f}.weights.h5", save_weights_only=True
    )
    every.monitor = "loss"
    history = fit([NeuralCollapse(x, y, epochs=3), best, every])
    values = np.array(history["nc1"])
    assert best.best == np.nanmin(values)
    saved = {path.name for path in tmp_path.glob("best-*")}
    running = np.fmin.accumulate(values)
    better = np.r_[True, running[1:] < running[:-1]]
    assert saved == {
        f"best-{epoch}.weights.h5" for epoch in np.flatnonzero(better) + 1
    }
    names = {path.name for path in tmp_path.glob("? *")}
    assert names == {
        f"{epoch} {value:.3f}.weights.h5"
        for epoch, value in enumerate(values, start=1)
    }


def test_a_tuner_finds_the_best_epoch():
    x, y = examples()
    history = fit([NeuralCollapse(x, y, epochs=[3, 5])])
    # As KerasTuner's `get_best_step`: the first value is the one to better.
    best = history["nc1"][0]
    for value in history["nc1"]:
        best = value if value < best else best
    assert best == np.nanmin(history["nc1"]) and math.isfinite(best)


@pytest.mark.parametrize("metrics", ["all", ["nc1", "nc3"], "nc1"])
def test_metrics_of_every_callback(metrics, tmp_path):
    x, y = examples()
    layered = metrics if metrics != ["nc1", "nc3"] else "nc1"
    history = fit(
        [
            NCTensorBoard(tmp_path, x, y, metrics=metrics),
            NeuralCollapse(x, y, (x, y), metrics=metrics),
            nc_keras.callbacks.LayerwiseCollapse(x, y, metrics=layered),
        ],
        epochs=2,
    )
    assert all(np.shape(values) == (2,) for values in history.values())
    assert ("vci" in history) == (metrics == "all")
    if metrics == "all":
        one = nc_keras.measure(network(), x, y, metrics="all")
        one = {tag for tag, value in one.items() if not np.ndim(value)}
        assert one - {"accuracy"} <= set(history)
        assert any(key.startswith("separation/") for key in history)


def test_metrics_that_cannot_be_logged_are_refused_at_once(tmp_path):
    x, y = examples()
    for make in (
        lambda m: NeuralCollapse(x, y, metrics=m),
        lambda m: NCTensorBoard(tmp_path, x, y, metrics=m),
        lambda m: nc_keras.callbacks.LayerwiseCollapse(x, y, metrics=m),
    ):
        for wrong in (["per_class_accuracy"], "per_class_nc1", ["nonsense"]):
            with pytest.raises(ValueError, match="metric"):
                make(wrong)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="needs TensorFlow"
)
def test_beside_keras_tensorboard_no_run_has_two_writers(tmp_path):
    x, y = examples()
    ours = NCTensorBoard(tmp_path, x, y, (x, y))
    theirs = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    fit([ours, theirs], validation_data=(x, y))
    files = list(tmp_path.rglob("events.out.tfevents.*"))
    writers = {}
    for path in files:
        writers.setdefault(path.parent.name, set()).add(path.suffix == ".v2")
    assert all(len(kinds) == 1 for kinds in writers.values()), writers
    for run in ("nc_train", "nc_validation"):
        events = events_of(tmp_path / run)
        steps = [event.step for event in events.Tensors("nc/nc1")]
        assert steps == [*range(1, 7)]


@pytest.mark.parametrize("without", [0, 1])
def test_running_values_of_an_epoch_without_a_class(without, tmp_path):
    x, y = examples()

    def batches():
        for epoch in range(4):
            yield x, (np.where(y == 2, 0, y) if epoch == without else y)

    panels = NCTensorBoard(tmp_path, x, y)
    history = (
        network()
        .fit(
            batches(),
            steps_per_epoch=1,
            shuffle=False,
            epochs=4,
            callbacks=[nc_keras.callbacks.RunningCollapse(), panels],
            verbose=0,
        )
        .history
    )
    measured = np.isfinite(history["running_nc1_cdnv"])
    assert measured.tolist() == [epoch != without for epoch in range(4)]
    assert {len(values) for values in history.values()} == {4}
    rows = [row for row in rows_of(tmp_path) if "running_nc1_cdnv" in row]
    others = [epoch for epoch in range(1, 5) if epoch != without + 1]
    assert [row["epoch"] for row in rows] == others


@pytest.mark.parametrize(
    "loss, expected",
    [(np.float32("nan"), True), (np.array(np.nan), True), (0.5, False)]
    + [(None, False), ("much", False), (np.ones(3), False)],
)
def test_a_loss_that_is_not_finite_is_seen_in_any_form(loss, expected):
    assert np.isnan(loss_of({"loss": loss})) == expected
