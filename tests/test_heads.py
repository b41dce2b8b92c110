"""Which layer is the head, and what is said where there is none."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import nc_keras
from nc_keras import FeatureExtractor
from nc_keras.layers import WeightNormalization

# Keras warns of each layer that has nothing to quantise.
quantises = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quan")


def sequential(*stack, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *stack])


@pytest.fixture
def few(rng):
    return rng.normal(size=(30, 4)).astype("float32"), np.arange(30) % 3


def clusters(rng, classes=3, count=60):
    y = np.arange(count) % classes
    x = 3 * np.eye(4)[y] + 0.1 * rng.normal(size=(count, 4))
    return x.astype("float32"), y


@pytest.mark.parametrize("per", ["unit", "kernel"])
def test_weight_normalised_convolutions_are_heads(rng, per):
    x = rng.normal(size=(30, 6, 6, 2)).astype("float32")
    y = np.arange(30) % 3
    conv = WeightNormalization(layers.Conv2D(3, 1), per=per)
    pool = layers.GlobalAveragePooling2D(keepdims=True)
    model = sequential(pool, conv, layers.Flatten(), shape=(6, 6, 2))
    conv.g.assign(2 * ops.convert_to_tensor(conv.g))
    extractor = FeatureExtractor(model)
    assert extractor.head is conv
    features, _ = extractor(x, y)
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        ops.convert_to_numpy(model(x)),
        rtol=1e-4,
        atol=1e-5,
    )


def quantised(rng):
    x, y = clusters(rng)
    model = sequential(
        WeightNormalization(layers.Dense(16, activation="relu")),
        WeightNormalization(layers.Dense(3)),
    )
    for layer in model.layers:  # v is far from what it is normalised to
        layer.g.assign(3 * ops.convert_to_tensor(layer.g))
        v = ops.convert_to_numpy(layer.layer.kernel)
        layer.layer.kernel.assign(v * rng.uniform(0.2, 5, v.shape[1:]))
    return model, x, y


@quantises
def test_weight_normalised_layers_are_quantised_as_they_are(rng, tmp_path):
    model, x, _ = quantised(rng)
    expected = model.predict(x, verbose=0)
    model.quantize("int8")
    outputs = model.predict(x, verbose=0)
    size = np.abs(expected).max()
    np.testing.assert_allclose(outputs, expected, atol=0.05 * size)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), outputs, atol=1e-5)


@quantises
def test_quantised_weights_are_not_taken_for_weights(rng):
    model, x, y = quantised(rng)
    model.quantize("int8")
    for read in (
        lambda: nc_keras.weights.weights_of(model),
        lambda: nc_keras.measure(model, x, y),
        lambda: nc_keras.measure(model, x, y, head=model.layers[-1]),
    ):
        with pytest.raises(ValueError, match=r"quantised \(int8\)"):
            read()
    # The layers before a quantised head are what they were.
    assert list(nc_keras.layerwise(model, x, y)) == [model.layers[0].name]
    plain = sequential(layers.Dense(8, "relu"), layers.Dense(3))
    plain.quantize("int8")
    with pytest.raises(ValueError, match=r"quantised \(int8\)"):
        nc_keras.measure(plain, x, y)
    assert list(nc_keras.layerwise(plain, x, y)) == [plain.layers[0].name]


@pytest.mark.parametrize("kind", [layers.Dense, layers.Conv1D])
def test_lora_inside_weight_normalisation(kind, rng):
    inner = kind(3) if kind is layers.Dense else kind(3, 1)
    shape = (4,) if kind is layers.Dense else (1, 4)
    model = sequential(
        WeightNormalization(inner), layers.Flatten(), shape=shape
    )
    x, y = clusters(rng)
    x = x.reshape(-1, *shape)
    before = ops.convert_to_numpy(model(x))
    inner.enable_lora(2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x)), before, rtol=1e-5, atol=1e-6
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(nc_keras.optimizers.SGD(0.5), loss=loss)
    history = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
    extractor = FeatureExtractor(model, head=model.layers[0])
    features, _ = extractor(x, y)
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        ops.convert_to_numpy(model(x)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_classifier_inside_a_lambda_is_not_overlooked(few):
    weights = ops.convert_to_tensor(
        np.random.default_rng(1).normal(size=(6, 3))
    )
    weights = ops.cast(weights, "float32")
    hidden = layers.Dense(6, activation="relu", name="hidden")
    as_layer = sequential(
        hidden,
        layers.Lambda(lambda h: ops.matmul(h, weights), output_shape=(3,)),
    )
    inputs = keras.Input((4,))
    outputs = ops.matmul(layers.Dense(6, name="hidden")(inputs), weights)
    as_activation = sequential(
        layers.Dense(6, name="hidden"),
        layers.Activation(lambda h: ops.matmul(h, weights)),
    )
    for model in (as_layer, as_activation, keras.Model(inputs, outputs)):
        with pytest.raises(
            ValueError, match="not known to be those of .* 'hidden'"
        ):
            nc_keras.measure(model, *few, num_classes=6, missing="skip")
        # Who says which layer is meant is believed.
        nc_keras.measure(model, *few, features="hidden")


@pytest.mark.parametrize(
    "function",
    [lambda z: 3 * z, ops.softmax, ops.log_softmax, ops.sigmoid, ops.tanh],
)
def test_functions_of_the_outputs_may_follow(function, few):
    head = layers.Dense(3, name="head")
    model = sequential(head, layers.Lambda(function))
    assert FeatureExtractor(model).head is head
    values = nc_keras.measure(model, *few)
    assert values == nc_keras.measure(model, *few, head="head")


def test_a_head_that_is_called_twice(few):
    x, y = few
    one, two = keras.Input((4,)), keras.Input((4,))
    branch = sequential(layers.Dense(6, "relu"), layers.Dense(3, name="head"))
    distance = layers.Subtract()([branch(one), branch(two)])
    model = keras.Model([one, two], distance)
    with pytest.raises(ValueError, match="'head' more than once"):
        nc_keras.measure(model, [x, x[::-1].copy()], y, head="head")
    assert nc_keras.measure(branch, x, y)["nc1"] > 0


BINARY = {
    "activation": lambda: layers.Dense(1, activation="sigmoid"),
    "layer": lambda: [layers.Dense(1), layers.Activation("sigmoid")],
    "loss": lambda: layers.Dense(1),
}


@pytest.mark.parametrize("kind", BINARY)
def test_one_sigmoid_output_is_two_classes(kind, rng):
    x, y = clusters(rng, classes=2)
    head = BINARY[kind]()
    head = head if isinstance(head, list) else [head]
    model = sequential(layers.Dense(6, "relu"), *head)
    loss = keras.losses.BinaryCrossentropy(from_logits=kind == "loss")
    model.compile("sgd", loss=loss, metrics=["accuracy"])
    two = sequential(layers.Dense(6, "relu"), layers.Dense(2))
    kernel, bias = head[0].get_weights()
    bias = bias + 0.25
    head[0].set_weights([kernel, bias])
    two.layers[0].set_weights(model.layers[0].get_weights())
    both = [np.concatenate([-a / 2, a / 2], -1) for a in (kernel, bias)]
    two.layers[1].set_weights(both)
    values = nc_keras.measure(model, x, y)
    expected = nc_keras.measure(two, x, y)
    assert values.keys() == expected.keys()
    for tag, value in values.items():
        assert np.isclose(value, expected[tag], rtol=1e-5, atol=1e-6), tag
    collapse = nc_keras.callbacks.NeuralCollapse(x, y)
    logs = model.fit(x, y, verbose=0, callbacks=[collapse]).history
    assert logs["nc_accuracy"][0] == model.evaluate(x, y, verbose=0)[1]
    said = []
    nc_keras.report(model, (x, y[:, None]), print_fn=said.append)
    assert "0 by definition, of two classes: nc2_equinorm_means" in said[0]
    assert "nc3_duality" in said[0].split("0 by definition")[1]


@pytest.mark.parametrize("as_list", [False, True])
def test_one_binary_output_of_several(as_list, few):
    x, y = few
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu")(inputs)
    outputs = [layers.Dense(n, name=f"of_{n}")(hidden) for n in (3, 1)]
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    losses = {"of_3": nc_keras.losses.CE(), "of_1": binary}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", [*losses.values()] if as_list else losses)
    assert nc_keras.measure(model, x, y % 2, head="of_1")["nc1"] > 0
    model.compile("sgd", [binary, "mse"])
    with pytest.raises(ValueError, match="as a regression has"):
        nc_keras.measure(model, x, y % 2, head="of_1")


def test_regression_is_told_so(few):
    x, _ = few
    model = sequential(layers.Dense(6, "relu"), layers.Dense(1))
    model.compile("sgd", loss="mse")
    for measured in (
        lambda: nc_keras.measure(model, x, np.arange(30) % 2),
        lambda: model.fit(
            x,
            x[:, :1],
            verbose=0,
            callbacks=[nc_keras.callbacks.NeuralCollapse(x, np.arange(30) % 2)],
        ),
    ):
        with pytest.raises(ValueError, match="as a regression has"):
            measured()
    values = nc_keras.measure(
        model, x, np.arange(30) % 2, features=model.layers[0]
    )
    assert values["nc1"] > 0 and "nc3" not in values


def test_labels_of_several_outputs(few):
    x, y = few
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu")(inputs)
    model = keras.Model(
        inputs,
        {n: layers.Dense(3, name=n)(hidden) for n in ("left", "right")},
    )
    labels = {"left": y, "right": (y + 1) % 3}
    expected = nc_keras.measure(model, x, labels["right"], head="right")
    assert nc_keras.measure(model, x, labels, head="right") == expected
    batches = [(x, labels)]
    assert nc_keras.measure(model, batches, head="right") == expected
    with pytest.raises(ValueError, match=r"for \['a', 'b'\]"):
        nc_keras.measure(model, x, {"a": y, "b": y}, head="right")
    collapse = nc_keras.callbacks.NeuralCollapse(x, labels, head="right")
    model.compile("sgd", loss={n: nc_keras.losses.CE() for n in labels})
    logs = model.fit(x, labels, verbose=0, callbacks=[collapse]).history
    assert len(logs["nc1"]) == 1


def test_labels_are_found_by_the_name_of_the_output(few):
    x, y = few
    inputs = keras.Input((4,))
    hidden = layers.Dense(6, activation="relu")(inputs)
    outputs = [
        layers.Softmax(name=f"p_{n}")(layers.Dense(3, name=n)(hidden))
        for n in ("left", "right")
    ]
    model = keras.Model(inputs, outputs)
    assert model.output_names == ["p_left", "p_right"]
    other = (y + 1) % 3
    expected = nc_keras.measure(model, x, other, head="right")
    for names in (model.output_names, ("left", "right")):
        labels = dict(zip(names, (y, other), strict=True))
        assert nc_keras.measure(model, x, labels, head="right") == expected


def test_a_given_head_before_a_sigmoid_is_binary(few):
    x, y = few
    model = sequential(
        layers.Dense(6, "relu"),
        layers.Dense(1, name="one"),
        layers.Activation("sigmoid"),
    )
    expected = nc_keras.measure(model, x, y % 2)
    assert nc_keras.measure(model, x, y % 2, head="one") == expected


@pytest.mark.parametrize("activation", ["softplus", "elu", "tanh", "relu"])
def test_known_functions_may_follow_a_head(few, activation):
    x, y = few
    inputs = keras.Input((4,))
    logits = layers.Dense(3)(layers.Dense(6, activation="relu")(inputs))
    outputs = getattr(keras.ops, activation)(logits)
    model = keras.Model(inputs, outputs)
    plain = keras.Model(inputs, logits)
    assert nc_keras.measure(model, x, y) == nc_keras.measure(plain, x, y)


def test_labels_of_several_outputs_of_a_model_that_is_not_built(few):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.left = layers.Dense(3, name="left")
            self.right = layers.Dense(3, name="right")

        def call(self, inputs):
            return {"left": self.left(inputs), "right": self.right(inputs)}

    x, y = few
    model, labels = Model(), {"left": y, "right": (y + 1) % 3}
    model.compile("sgd", loss={n: nc_keras.losses.CE() for n in labels})
    collapse = nc_keras.callbacks.NeuralCollapse(x, labels, head="right")
    logs = model.fit(x, labels, verbose=0, callbacks=[collapse]).history
    assert len(logs["nc1"]) == 1
