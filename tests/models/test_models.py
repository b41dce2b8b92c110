import keras
import numpy as np
import pytest
from keras import ops

import nc_keras
from nc_keras.models import MLP
from nc_keras.models import ConvNet

BUILD = {
    "mlp": lambda **kwargs: MLP((8, 8, 1), 10, (32, 16), **kwargs),
    "conv_net": lambda **kwargs: ConvNet((8, 8, 1), 10, (8, 16), **kwargs),
}
HEADS = {
    "linear": keras.layers.Dense,
    "etf": nc_keras.layers.ETFClassifier,
    "weight_norm": nc_keras.layers.WeightNormDense,
}


@pytest.mark.parametrize("network", BUILD)
@pytest.mark.parametrize("head", HEADS)
def test_trains_measures_saves_and_loads(network, head, digits, tmp_path):
    x, y = digits[0][:300], digits[1][:300]
    model = BUILD[network](head=head)
    assert type(model.layers[-1]) is HEADS[head]
    assert model.output_shape == (None, 10)
    model.compile(
        nc_keras.optimizers.SGD(0.05, 0.9, 1e-3),
        loss=nc_keras.losses.MSE(),
        metrics=["accuracy"],
    )
    losses = model.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    values = nc_keras.measure(model, x, y)
    assert all(np.isfinite(value) for value in values.values())
    outputs = model.predict(x, verbose=0)
    assert values["accuracy"] == pytest.approx(
        np.mean(outputs.argmax(1) == y), abs=0.004
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), outputs)


def test_parameter_counts():
    dense = 64 * 32 + 32 * 16
    assert MLP((8, 8, 1), 10, (32, 16)).count_params() == (dense + 4 * 48 + 170)
    plain = MLP((8, 8, 1), 10, (32, 16), use_batch_norm=False)
    assert plain.count_params() == dense + 48 + 170
    conv = 9 * 8 + 9 * 8 * 16
    assert ConvNet((8, 8, 1), 10, (8, 16)).count_params() == (
        conv + 4 * 24 + 170
    )


def test_batch_norm_has_pytorch_constants():
    layers = [
        layer
        for model in (MLP((4,), 3), ConvNet((8, 8, 1), 3))
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 6
    assert all((la.momentum, la.epsilon) == (0.9, 1e-5) for la in layers)


def test_a_head_of_ones_own():
    head = nc_keras.layers.ETFClassifier(10, scale=5.0, use_bias=True)
    model = MLP((8, 8, 1), 10, (16,), head=head)
    assert model.layers[-1] is head


def test_same_seed_same_body_for_every_head():
    bodies = []
    for head in HEADS:
        keras.utils.set_random_seed(7)
        model = ConvNet((8, 8, 1), 10, (8, 16), head=head)
        bodies.append(ops.convert_to_numpy(model.layers[1].kernel))
    np.testing.assert_array_equal(bodies[0], bodies[1])
    np.testing.assert_array_equal(bodies[0], bodies[2])


def test_bad_arguments():
    with pytest.raises(ValueError, match="Did you mean 'linear'.*'lineer'"):
        MLP((4,), 3, head="lineer")
    for head in (3, ["linear"]):
        with pytest.raises(ValueError, match="Received: head="):
            MLP((4,), 3, head=head)
    with pytest.raises(ValueError, match="Received: num_classes=1"):
        MLP((4,), 1)
    with pytest.raises(ValueError, match="Received: widths="):
        MLP((4,), 3, widths=())
    with pytest.raises(ValueError, match="Received: filters="):
        ConvNet((8, 8, 1), 3, filters=())
    with pytest.raises(ValueError, match=r"input_shape=\(8, 8, 1\)"):
        ConvNet((8, 8, 1), 3, filters=(4,) * 5)
    with pytest.raises(ValueError, match="at least 9 dimensions"):
        MLP((4,), 10, widths=(8,), head="etf")
