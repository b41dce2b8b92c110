import itertools

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import TerminateOnNonFinite
from tests.helpers import digits_mlp

STEPS = 5


def poisoned(digits, epoch, step):
    """Batches of real digits; one step of one epoch holds an infinity."""
    for count in itertools.count():
        rows = slice(40 * (count % STEPS), 40 * (count % STEPS + 1))
        x, y = digits[0][rows].copy(), digits[1][rows]
        if count == (epoch - 1) * STEPS + step - 1:
            x[3] = np.inf
        yield x, y


def fit(digits, callback, epoch, step, epochs=4):
    model = digits_mlp(widths=(16,))
    history = model.fit(
        poisoned(digits, epoch, step),
        steps_per_epoch=STEPS,
        shuffle=False,
        epochs=epochs,
        callbacks=[callback],
        verbose=0,
    )
    return model, history.history["loss"]


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_stops_names_epoch_and_step_and_keeps_the_last_good(
    digits, tmp_path, capsys, suffix
):
    path = tmp_path / f"good{suffix}"
    guard = TerminateOnNonFinite(path)
    model, losses = fit(digits, guard, epoch=3, step=4)
    assert guard.failed_at == (3, 4)
    assert len(losses) == 3
    printed = capsys.readouterr().out
    assert "Epoch 3, step 4: training stops, the loss is" in printed
    assert f"{path} holds epoch 2." in printed
    if suffix == ".keras":
        kept = keras.models.load_model(path)
    else:
        kept = keras.models.clone_model(model)
        kept.load_weights(path)
    assert all(np.isfinite(w).all() for w in kept.get_weights())
    assert not all(np.isfinite(w).all() for w in model.get_weights())
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_failure_it_keeps_the_last_epoch(digits, tmp_path, capsys):
    path = tmp_path / "good.weights.h5"
    guard = TerminateOnNonFinite(path)
    model, losses = fit(digits, guard, epoch=99, step=1, epochs=2)
    assert guard.failed_at is None and len(losses) == 2
    kept = keras.models.clone_model(model)
    kept.load_weights(path)
    for a, b in zip(kept.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert capsys.readouterr().out == ""


def test_weights_that_broke_at_the_last_step_are_not_good(digits, tmp_path):
    path = tmp_path / "good.weights.h5"
    guard = TerminateOnNonFinite(path)
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    guard.set_model(model)
    guard.on_train_begin()
    broken = [np.full_like(w, np.nan) for w in model.get_weights()]
    model.set_weights(broken)
    guard.on_epoch_end(0, {"loss": 1.0})
    assert not path.exists()


def test_a_folder_that_does_not_exist_is_made(digits, tmp_path):
    path = tmp_path / "new" / "good.weights.h5"
    fit(digits, TerminateOnNonFinite(path), epoch=99, step=1, epochs=1)
    assert path.exists()


def test_bad_suffix():
    with pytest.raises(ValueError, match="Received: checkpoint='model.pt'"):
        TerminateOnNonFinite("model.pt")


SAYS = {
    "from 1": (lambda y: y + 1, "counted from 1: pass `y - 1`"),
    "soft": (lambda y: 0.9 * np.eye(3)[y] + 0.1 / 3, "are soft targets"),
    "multi-hot": (
        lambda y: np.eye(3)[y] + np.outer(y > 0, np.eye(3)[0]),
        "multi-hot",
    ),
    "negative": (lambda y: y - 1, "must be in 0 .. 2. Received: label -1"),
    "right": (lambda y: y, None),
}


@pytest.mark.parametrize("kind", SAYS)
def test_wrong_labels_are_named(kind, rng, capsys):
    make, message = SAYS[kind]
    x, y = rng.normal(size=(30, 4)).astype("float32"), np.arange(30) % 3
    y = make(y)
    x[3] = np.nan
    model = nc_keras.models.MLP((4,), 3, widths=(8,))
    model.compile("sgd", loss=nc_keras.losses.CE())
    y = y.astype("float32") if y.ndim == 2 else y
    guard = TerminateOnNonFinite(y=y)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[guard])
    printed = capsys.readouterr().out
    assert "step 1: training stops, the loss is nan." in printed
    if message is None:
        assert "labels" not in printed
    else:
        assert message in printed
