import keras
import numpy as np
import pytest

import nc_keras
from nc_keras import FeatureExtractor


def dense(units, **kwargs):
    return keras.layers.Dense(units, **kwargs)


def backbone():
    return keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), dense(12)]
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.backbone = backbone()
        self.classifier = dense(10, name="classifier")
        self.unused = dense(10, name="unused")

    def build(self, input_shape):
        self.backbone.build(input_shape)
        self.classifier.build((None, 12))
        self.unused.build((None, 12))
        self.built = True

    def call(self, inputs):
        return self.classifier(self.backbone(inputs))


def functional():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, dense(10)(backbone()(inputs)))


def nested_head():
    inputs = keras.Input((8, 8, 1))
    top = keras.Sequential([keras.Input((12,)), dense(10, name="top")])
    return keras.Model(inputs, top(backbone()(inputs)))


def built(model):
    model.build((None, 8, 8, 1))
    return model


MODELS = {
    "functional": (functional, None),
    "sequential": (
        lambda: keras.Sequential([backbone(), dense(10)]),
        None,
    ),
    "nested head": (nested_head, None),
    "softmax layer": (
        lambda: keras.Sequential(
            [backbone(), dense(10), keras.layers.Softmax()]
        ),
        None,
    ),
    "softmax activation": (
        lambda: keras.Sequential([backbone(), dense(10, activation="softmax")]),
        None,
    ),
    "subclassed": (Subclassed, "classifier"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_features_times_kernel_are_the_outputs(kind, digits):
    make, head = MODELS[kind]
    x, y = digits[0][:100], digits[1][:100]
    model = built(make())
    extractor = FeatureExtractor(model, head)
    features, labels = extractor(x, y, batch_size=33)
    assert features.shape == (100, 12)
    np.testing.assert_array_equal(labels, y)
    outputs = features @ extractor.kernel + extractor.bias
    if "softmax" in kind:
        outputs = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), outputs, rtol=1e-3, atol=1e-5
    )
    # The model itself is left as it was.
    assert "call" not in vars(extractor.head)


@pytest.mark.parametrize("kind", MODELS)
def test_measure_does_not_depend_on_the_batch_size(kind, digits):
    make, head = MODELS[kind]
    model = built(make())
    values = [
        nc_keras.measure(model, *digits, head=head, batch_size=size)
        for size in (50, 1797)
    ]
    for tag, value in values[0].items():
        np.testing.assert_allclose(
            value, values[1][tag], rtol=1e-3, atol=1e-6, err_msg=tag
        )


def test_inference_mode(digits):
    x, y = digits[0][:64], digits[1][:64]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    features, _ = FeatureExtractor(model)(x, y)
    one_by_one = [FeatureExtractor(model)(x[:3], y[:3])[0]]
    # BatchNorm in training mode would make features depend on the batch.
    np.testing.assert_allclose(features[:3], one_by_one[0], atol=1e-5)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, one_hot):
        super().__init__()
        self.x, self.y = x, np.eye(10)[y] if one_hot else y

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.x[30 * i : 30 * i + 30], self.y[30 * i : 30 * i + 30]


def tf_dataset(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(30)


def torch_loader(x, y):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(x), torch.from_numpy(y)
    )
    return torch.utils.data.DataLoader(data, batch_size=30)


@pytest.mark.parametrize(
    "dataset",
    [
        lambda x, y: Batches(x, y, one_hot=False),
        lambda x, y: Batches(x, y, one_hot=True),
        lambda x, y: [(x[:70], y[:70]), (x[70:], y[70:])],
        lambda x, y: ((x[i : i + 9], y[i : i + 9]) for i in range(0, 100, 9)),
        tf_dataset,
        torch_loader,
    ],
    ids=["pydataset", "one-hot", "list", "generator", "tf.data", "torch"],
)
def test_datasets(dataset, digits):
    x, y = digits[0][:100], digits[1][:100]
    model = functional()
    expected = nc_keras.measure(model, x, y)
    values = nc_keras.measure(model, dataset(x, y))
    for tag, value in values.items():
        np.testing.assert_allclose(
            value, expected[tag], rtol=1e-4, atol=1e-6, err_msg=tag
        )


def test_several_inputs(digits):
    x, y = digits[0][:100].reshape(100, -1), digits[1][:100]
    left, right = keras.Input((32,)), keras.Input((32,))
    joined = keras.layers.Concatenate()([left, right])
    model = keras.Model([left, right], dense(10)(joined))
    features, _ = FeatureExtractor(model)([x[:, :32], x[:, 32:]], y)
    np.testing.assert_array_equal(features, x)


def test_mixed_precision_features_are_cast_up(digits):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,), head="etf")
    values = nc_keras.measure(model, *digits)
    assert all(np.isfinite(value) for value in values.values())


def test_models_without_a_findable_head(digits):
    with pytest.raises(ValueError, match="is not built"):
        nc_keras.measure(keras.Sequential([dense(3)]), *digits)
    model = built(Subclassed())
    with pytest.raises(ValueError, match="head=model.my_layer.*'classifier'"):
        nc_keras.measure(model, *digits)
    with pytest.raises(ValueError, match="'classifier'.*Received: head='clas'"):
        nc_keras.measure(model, *digits, head="clas")
    with pytest.raises(ValueError, match="must be a layer of model"):
        nc_keras.measure(model, *digits, head=dense(3))
    with pytest.raises(ValueError, match="does not call its layer 'unused'"):
        nc_keras.measure(model, *digits, head=model.unused)
    inputs = keras.Input((8, 8, 1))
    conv = keras.layers.Conv2D(10, 8, name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Flatten()(conv))
    with pytest.raises(ValueError, match="before its outputs comes 'conv'"):
        nc_keras.measure(model, *digits)
    with pytest.raises(ValueError, match="layer 'conv' of type Conv2D"):
        nc_keras.measure(model, *digits, head="conv")


def test_outputs_of_several_layers_need_a_head(digits):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    a, b = dense(10, name="a"), dense(10, name="b")
    model = keras.Model(inputs, keras.layers.Add()([a(x), b(x)]))
    with pytest.raises(ValueError, match="of type Add.*Pass the classifier"):
        nc_keras.measure(model, *digits)
    model = keras.Model(inputs, [a.output, b.output])
    with pytest.raises(ValueError, match=r"2 outputs: \['a', 'b'\]"):
        nc_keras.measure(model, *digits)
    assert nc_keras.measure(model, *digits, head="a")["nc1"] > 0
    inner = nc_keras.models.MLP((8, 8, 1), 10, widths=(16,))
    model = keras.Sequential([inner, dense(10, name="head")])
    with pytest.raises(ValueError, match="2 layers of that name"):
        nc_keras.measure(model, *digits, head="head")
    assert FeatureExtractor(model).head is model.layers[-1]


def test_layers_without_weights_may_follow_in_a_nested_model(digits):
    softmax = keras.Sequential([keras.Input((10,)), keras.layers.Softmax()])
    model = built(keras.Sequential([backbone(), dense(10), softmax]))
    assert FeatureExtractor(model).head is model.layers[1]
    inputs = keras.Input((8, 8, 1))
    outputs = dense(10, name="top")(backbone()(inputs))
    model = keras.Model(inputs, keras.ops.softmax(outputs))
    assert FeatureExtractor(model).head.name == "top"


def test_bad_data(digits):
    x, y = digits
    model = functional()
    with pytest.raises(ValueError, match="5 examples and 4 labels"):
        nc_keras.measure(model, x[:5], y[:4])
    with pytest.raises(ValueError, match="0 examples"):
        nc_keras.measure(model, x[:0], y[:0])
    with pytest.raises(ValueError, match="type ndarray and y=None"):
        nc_keras.measure(model, x)
    for size in (0, -1):
        with pytest.raises(ValueError, match="Received: batch_size="):
            nc_keras.measure(model, x, y, batch_size=size)
    with pytest.raises(ValueError, match="without labels"):
        nc_keras.measure(model, [(x[:5],)])
    with pytest.raises(ValueError, match="empty dataset"):
        nc_keras.measure(model, iter([]))
    with pytest.raises(ValueError, match="label 12 at index 2"):
        nc_keras.measure(model, x[:3], np.array([0, 1, 12]))
