"""The callbacks that look at weights, margins and inner layers."""

import pathlib

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import LayerwiseCollapse
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks import NormalizedMargins
from nc_keras.callbacks import WeightSpectrum
from nc_keras.metrics.alignment import alignment
from nc_keras.theory import square_loss
from nc_keras.weights import weights_of
from nc_keras.writers.json_lines import read_json_lines
from tests.helpers import compiled


@pytest.fixture
def few(digits):
    x, y = digits
    rows = np.flatnonzero(y < 3)[:90]
    return x[rows], y[rows]


def network(decay=1e-2, loss=None, model=None):
    model = model or nc_keras.models.HomogeneousNet((8, 8, 1), 3, (), (16, 8))
    loss = loss or nc_keras.losses.MSE(class_reduction="sum")
    return compiled(model, loss, (0.01, 0.5, decay))


def test_ranks_and_change_are_those_of_the_weights(few):
    model = network()
    start = [one.kernel for one in weights_of(model)]
    spectrum = WeightSpectrum(batch_size=1)
    logs = model.fit(*few, 1, 1, verbose=0, callbacks=[spectrum]).history
    end = [one.kernel for one in weights_of(model)]
    changes = [
        np.linalg.norm(b - a) / np.linalg.norm(a)
        for a, b in zip(start, end, strict=True)
    ]
    assert np.isclose(logs["weight_change"][0], np.mean(changes), rtol=1e-6)
    found = [nc_keras.weights.ranks(k.T) for k in end]
    assert logs["rank"][0] == np.mean([r.numerical for r in found])
    assert np.isclose(
        logs["stable_rank"][0], np.mean([r.stable for r in found])
    )
    # The bound of this training is no less than what matrices can have.
    assert logs["rank_bound"][0] == np.mean([16, 8, 3])


def test_the_bound_counts_positions(few):
    """A convolution's gradient has a rank for each position."""
    conv = nc_keras.models.HomogeneousNet((8, 8, 1), 3, (40,), (), 8, 4)
    network(decay=49.0, model=conv)
    spectrum = WeightSpectrum(batch_size=1, epochs=[1])
    # eta w = 0.49 and momentum 0.5: few steps are remembered.
    logs = conv.fit(*few, verbose=0, callbacks=[spectrum]).history
    steps = nc_keras.theory.low_rank.memory(0.01, 49.0, 1e-3, 0.5)
    assert 4 * steps > 40 and 4 <= steps < 40
    assert logs["rank_bound"][0] == np.mean([min(4 * steps, 40), 3])


def test_other_optimizers_have_no_bound(few):
    model = network()
    model.compile(keras.optimizers.AdamW(), nc_keras.losses.MSE())
    spectrum = WeightSpectrum(batch_size=8)
    logs = model.fit(*few, verbose=0, callbacks=[spectrum]).history
    assert "rank_bound" not in logs and "rank" in logs


def test_a_rate_of_zero_has_no_bound(few):
    """As at the end of a cosine schedule."""
    model = network()
    model.optimizer.learning_rate = 0.0
    spectrum = WeightSpectrum(batch_size=8)
    logs = model.fit(*few, verbose=0, callbacks=[spectrum]).history
    assert logs["rank_bound"][0] == np.mean([16, 8, 3])
    assert logs["weight_change"] == [0.0]


def test_a_stopped_training_has_its_last_epoch(few):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    callbacks = [Stop(), WeightSpectrum(), NormalizedMargins(*few)]
    logs = network().fit(*few, epochs=5, verbose=0, callbacks=callbacks)
    lengths = {key: len(values) for key, values in logs.history.items()}
    assert set(lengths.values()) == {2}


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_fixed_head_does_not_count(few, use_bias):
    head = nc_keras.layers.ETFClassifier(3, use_bias=use_bias)
    model = nc_keras.models.HomogeneousNet(
        (8, 8, 1), 3, widths=(16,), head=head
    )
    spectrum = WeightSpectrum()
    logs = network(model=model).fit(*few, verbose=0, callbacks=[spectrum])
    assert logs.history["rank"][0] == 16
    assert "rank_bound" not in logs.history


def test_margins_and_rho_of_plain_decay(few):
    x, y = few
    model = network(decay=0.02)
    margins = NormalizedMargins(x, y)
    logs = model.fit(x, y, 30, 2, verbose=0, callbacks=[margins]).history
    outputs = model.predict(x, verbose=0).astype("float64")
    norms = [one.norm for one in weights_of(model)]
    assert np.isclose(logs["rho"][1], np.prod(norms))
    expected = square_loss.normalized_margins(outputs, y, np.prod(norms))
    assert np.isclose(logs["margin_min"][1], expected.min(), rtol=1e-4)
    assert np.isclose(logs["margin_std"][1], expected.std(), rtol=1e-4)
    # The optimizer's decay w is the penalty (w/2) ||W||^2.
    distance = square_loss.stationarity(norms, outputs, np.eye(3)[y], 0.01)
    assert np.isclose(logs["stationarity"][1], distance, rtol=1e-4)


@pytest.mark.parametrize("weight_decay", [0.0, 0.06])
@pytest.mark.parametrize("reduction, factor", [("sum", 1), ("mean", 3)])
def test_equilibrium_of_a_normalised_network(
    few, reduction, factor, weight_decay
):
    x, y = few
    plain = nc_keras.models.HomogeneousNet((8, 8, 1), 3, (), (16, 8))
    model = network(
        weight_decay,
        nc_keras.losses.MSE(class_reduction=reduction),
        nc_keras.models.Normalized(plain, decay=0.05),
    )
    margins = NormalizedMargins(x, y)
    logs = model.fit(x, y, 30, 1, verbose=0, callbacks=[margins]).history
    f = model.predict(x, verbose=0).astype("float64") / logs["rho"][0]
    # The optimizer's decay is one of rho as well, (w/2) rho^2.
    decay = factor * (0.05 + weight_decay / 2)
    expected = square_loss.equilibrium_rho(f, np.eye(3)[y], decay)
    assert np.isclose(logs["rho_equilibrium"][0], expected, rtol=1e-4)
    assert "stationarity" not in logs


def test_rho_comes_to_its_equilibrium(few):
    x, y = few
    plain = nc_keras.models.HomogeneousNet((8, 8, 1), 3, (), (16, 8))
    plain.set_weights([0.4 * kernel for kernel in plain.get_weights()])
    model = nc_keras.models.Normalized(plain, decay=0.1)
    model.compile(
        nc_keras.optimizers.SGD(0.02, 0.9),
        loss=nc_keras.losses.MSE(class_reduction="sum"),
    )
    margins = NormalizedMargins(x, y, epochs=150)
    logs = model.fit(x, y, 90, 150, verbose=0, callbacks=[margins]).history
    gap = np.abs(np.array(logs["rho"]) / logs["rho_equilibrium"] - 1)
    assert gap[-1] < 0.01 < 1 < gap[0]
    assert np.ptp([logs["margin_min"][i] for i in (0, -1)]) > 0


def test_other_losses_have_margins_but_no_equilibrium(few):
    model = network(loss=nc_keras.losses.CE())
    margins = NormalizedMargins(*few)
    logs = model.fit(*few, verbose=0, callbacks=[margins]).history
    assert "margin_mean" in logs and "rho_equilibrium" not in logs


def test_batch_norm_needs_to_be_said(few):
    model = nc_keras.models.MLP((8, 8, 1), 3, (8,))
    network(model=model)
    with pytest.raises(ValueError, match="BatchNormalization"):
        model.fit(*few, verbose=0, callbacks=[NormalizedMargins(*few)])
    margins = NormalizedMargins(*few, batch_norm=True)
    logs = model.fit(*few, verbose=0, callbacks=[margins]).history
    assert np.isclose(logs["rho"][0], nc_keras.weights.rho(model, True))


def test_layers_agree_with_layerwise(few):
    x, y = few
    model = network()
    layers = LayerwiseCollapse(x, y, epochs=[2])
    logs = model.fit(x, y, 30, 2, verbose=0, callbacks=[layers]).history
    expected = nc_keras.layerwise(model, x, y)
    for name, values in expected.items():
        for tag, value in values.items():
            assert np.isclose(logs[f"{tag}/{name}"][1], value, rtol=1e-6)
    assert np.isclose(
        logs["separation_decay_ratio"][1], expected.law.decay_ratio
    )
    names = [key for key in logs if key.startswith("alignment/")]
    assert len(names) == 2
    assert all(0 <= logs[name][0] <= 1 for name in names)


def test_curves_are_written_and_go_on(few, tmp_path):
    x, y = few
    model = network()
    callbacks = [
        WeightSpectrum(tmp_path),
        NormalizedMargins(x, y, log_dir=tmp_path),
        LayerwiseCollapse(x, y, log_dir=tmp_path),
        NCTensorBoard(tmp_path, x, y),
    ]
    checkpoint = nc_keras.callbacks.Checkpoint(tmp_path / "c", callbacks)
    options = {"verbose": 0, "callbacks": [*callbacks, checkpoint]}
    model.fit(x, y, epochs=2, **options)
    model.fit(
        x, y, epochs=3, initial_epoch=2, **options | {"callbacks": callbacks}
    )
    rows = read_json_lines(tmp_path / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"rank", "rho", "weight_change", "stationarity"} <= rows[2].keys()
    for run in ("weights", "margins", "layers"):
        assert len(list(pathlib.Path(tmp_path, run).glob("events*"))) == 2


@pytest.mark.parametrize("observer", [WeightSpectrum, None])
def test_weights_that_are_not_finite_stop_the_training(few, observer, capsys):
    x, y = few
    model = network()
    model.optimizer.learning_rate = 1e30
    callback = observer() if observer else NormalizedMargins(x, y)
    logs = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback]).history
    assert len(logs["loss"]) == 1
    assert ": training stops. The weights" in capsys.readouterr().out


def test_alignment_of_means_and_weights(rng):
    """Orthogonal subspaces have no cosine, equal ones have one."""
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    means = rng.normal(size=(3, 3)) @ basis[:3]
    same = rng.normal(size=(5, 3)) @ basis[:3]
    other = rng.normal(size=(5, 3)) @ basis[3:]
    assert np.isclose(alignment(means, same), 1.0)
    assert alignment(means, other) < 1e-12
    with pytest.raises(ValueError, match=r"weights of shape \(5, 4\)"):
        alignment(means, same[:, :4])
    with pytest.raises(ValueError, match="finite"):
        alignment(np.full((3, 6), np.nan), same)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        WeightSpectrum(batch_size=0)
    with pytest.raises(ValueError, match="tolerance=1"):
        WeightSpectrum(tolerance=1)
    with pytest.raises(ValueError, match="epochs='all'"):
        LayerwiseCollapse(np.zeros(3), epochs="all")
