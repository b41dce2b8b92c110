"""The parts of the MSE loss in a training: History, TensorBoard, decay."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks import NeuralCollapse
from nc_keras.metrics import equivalent_decay
from nc_keras.metrics import mse_decomposition
from tests.helpers import digits_mlp
from tests.helpers import events_of

PARTS = ["mse_nc1", "mse_nc23", "mse_perp", "mse_perp_share"]


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:500], y[:500]


def network(loss, head="linear", decay=1e-3):
    return digits_mlp(loss, (0.05, 0.9, decay), head=head)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_are_those_of_the_loss_that_is_trained(data, reduction):
    model = network(nc_keras.losses.MSE(reduction))
    collapse = NeuralCollapse(*data)
    history = model.fit(*data, epochs=3, verbose=0, callbacks=[collapse])
    h, y = nc_keras.FeatureExtractor(model)(*data)
    head = model.layers[-1]
    kernel, bias = (np.asarray(w) for w in head.get_weights())
    decay = equivalent_decay(model)
    expected = mse_decomposition(h, y, kernel, bias, decay)
    for key in PARTS:
        value = getattr(expected, key.removeprefix("mse_"))
        assert history.history[key][-1] == pytest.approx(value, rel=1e-6)
    # The objective of the training, but for the factor 2 or 2/C.
    loss = model.evaluate(*data, verbose=0)[0]
    penalty = 1e-3 / 2 * (np.sum(kernel**2) + np.sum(bias**2))
    factor = 2 if reduction == "sum" else 2 / 10
    assert loss + penalty == pytest.approx(factor * expected.total, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "head", "decay", "measured"),
    [
        ("mse", "linear", 1e-3, True),
        (nc_keras.losses.MSE(), "etf", 1e-3, True),
        (nc_keras.losses.MSE(), "weight_norm", 1e-3, False),
        (nc_keras.losses.MSE(), "weight_norm", 0.0, True),
        (nc_keras.losses.CE(), "linear", 1e-3, False),
        (nc_keras.losses.RescaledSquare(1, 15), "linear", 1e-3, False),
    ],
)
def test_measured_where_the_loss_is_that_of_the_head(
    data, loss, head, decay, measured
):
    x, y = data
    model = network(loss, head, decay)
    history = model.fit(
        x, np.eye(10)[y], verbose=0, callbacks=[NeuralCollapse(x, y)]
    ).history
    assert (
        set(PARTS) <= set(history)
        if measured
        else not (set(PARTS) & set(history))
    )


def test_only_where_it_is_asked_for_or_can_be(data):
    model = network(nc_keras.losses.MSE())
    callback = NeuralCollapse(*data, decompose=False)
    assert "mse_perp" not in (
        model.fit(*data, verbose=0, callbacks=[callback]).history
    )
    model = network(nc_keras.losses.CE())
    with pytest.raises(ValueError, match="The MSE loss can be decomposed"):
        model.fit(
            *data,
            verbose=0,
            callbacks=[NeuralCollapse(*data, decompose=True)],
        )
    model.compile("adamw", loss="mse")
    assert equivalent_decay(model) is None
    model.compile("adam", loss="mean_squared_error")
    assert equivalent_decay(model) == 0.0


def test_panels_are_drawn(data, tmp_path):
    x, y = data
    model = network(nc_keras.losses.MSE())
    panels = NCTensorBoard(tmp_path, x, y, (x[:200], y[:200]))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[panels]).history
    for run, prefix in (("nc_train", ""), ("nc_validation", "val_")):
        events = events_of(tmp_path / run)
        for part in ("nc1", "nc23", "perp", "perp_share"):
            points = events.Tensors(f"mse/{part}")
            assert [p.step for p in points] == [1, 2]
            value = points[-1].tensor_proto.float_val[0]
            expected = history[f"{prefix}mse_{part}"][-1]
            assert value == pytest.approx(expected, rel=1e-6)
    (layout,) = events_of(tmp_path).Tensors("custom_scalars__config__")
    assert b"central path" in layout.tensor_proto.string_val[0]


def test_a_loss_that_is_scaled_has_the_same_decay():
    """mixed_float16 wraps the optimizer."""
    model = network(nc_keras.losses.MSE())
    plain = equivalent_decay(model)
    model.optimizer = keras.optimizers.LossScaleOptimizer(model.optimizer)
    assert equivalent_decay(model) == plain > 0


def test_a_sum_over_the_batch_has_no_decay():
    model = network(nc_keras.losses.MSE(reduction="sum"))
    assert equivalent_decay(model) is None
