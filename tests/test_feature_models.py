"""Features of every kind of model: with the kernel they give the outputs."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import nc_keras
from nc_keras import FeatureExtractor

CLASSES = 5
TOKENS = 6


def outputs_of(model, x):
    outputs = model.predict(x, verbose=0, batch_size=7)
    return np.asarray(outputs, "float32")


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def dense(units=CLASSES, **kwargs):
    return layers.Dense(units, bias_initializer="normal", **kwargs)


def conv(rank, **kwargs):
    kind = {1: layers.Conv1D, 2: layers.Conv2D}[rank]
    return kind(CLASSES, 1, bias_initializer="normal", **kwargs)


def einsum(equation, units):
    return layers.EinsumDense(
        equation, units, bias_axes=equation[-1], bias_initializer="normal"
    )


def tied(**kwargs):
    tokens = keras.Input((TOKENS,), dtype="int32")
    embedding = layers.ReversibleEmbedding(
        CLASSES, 4, embeddings_initializer="normal", **kwargs
    )
    hidden = layers.Dense(4, activation="tanh")(embedding(tokens))
    return keras.Model(tokens, embedding(hidden, reverse=True))


def mobilenet_head():
    pool = layers.GlobalAveragePooling2D(keepdims=True)
    return sequential(
        (6, 4, 3), pool, conv(2), layers.Reshape((CLASSES,)), layers.Softmax()
    )


HEADS = {
    "dense": lambda: sequential((12,), layers.Dense(4), dense()),
    "no bias": lambda: sequential((12,), dense(use_bias=False)),
    "softmax inside": lambda: sequential((12,), dense(activation="softmax")),
    "etf": lambda: sequential((12,), nc_keras.layers.ETFClassifier(CLASSES)),
    "weight norm": lambda: sequential(
        (12,), nc_keras.layers.WeightNormDense(CLASSES)
    ),
    "einsum": lambda: sequential((12,), einsum("ab,bc->ac", CLASSES)),
    "einsum of (C, D)": lambda: sequential((12,), einsum("ab,cb->ac", CLASSES)),
    "einsum of tokens": lambda: sequential(
        (TOKENS, 4), einsum("abc,cd->abd", (None, CLASSES))
    ),
    "einsum with an ellipsis": lambda: sequential(
        (TOKENS, 4), einsum("...bc,cd->...bd", (None, CLASSES))
    ),
    "mobilenet": mobilenet_head,
    "conv of tokens": lambda: sequential((TOKENS, 4), conv(1)),
    "conv of pixels": lambda: sequential(
        (3, 2, 4), layers.ReLU(), conv(2), layers.Activation("softmax")
    ),
    "dense of tokens": lambda: sequential((TOKENS, 4), dense()),
    "time distributed": lambda: sequential(
        (TOKENS, 4), layers.TimeDistributed(dense())
    ),
    "tied": tied,
    "not tied": lambda: tied(tie_weights=False),
}


needs_tied_heads = pytest.mark.skipif(
    not hasattr(layers, "ReversibleEmbedding"), reason="this Keras has none"
)


def needs_channels_first(data_format="channels_first"):
    """Skips where the backend has no such convolution: TensorFlow on a CPU."""
    head = conv(2, data_format=data_format)
    try:
        outputs_of(sequential((4, 4, 4), head), np.ones((1, 4, 4, 4)))
    except Exception as error:
        if "NHWC" not in str(error):
            raise
        pytest.skip("TensorFlow before 2.X convolves channels last on a CPU")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=needs_tied_heads if "tied" in kind else ())
        for kind in HEADS
    ],
)
def test_features_times_kernel_are_the_outputs_of_head(kind, rng):
    model = HEADS[kind]()
    x = rng.normal(size=(10, *model.input_shape[1:])).astype("float32")
    if "tied" in kind:
        x = rng.integers(CLASSES, size=x.shape)
    outputs = outputs_of(model, x)
    y = rng.integers(CLASSES, size=outputs.shape[:-1])
    extractor = FeatureExtractor(model)
    features, labels = extractor(x, y, batch_size=4)
    kernel, bias = extractor.kernel, extractor.bias
    assert kernel.shape == (features.shape[1], CLASSES)
    assert (bias is None) == (kind in ("no bias", "etf", "tied", "not tied"))
    logits = features @ kernel + (0 if bias is None else bias)
    if "softmax" in kind or kind in ("mobilenet", "conv of pixels"):
        logits = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(
        logits, outputs.reshape(-1, CLASSES), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(labels, y.reshape(-1))


class Tied(keras.Model):
    """Embeds before the tied head is called, and after it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.ReversibleEmbedding(CLASSES, 4, name="tied")
        self.embedding.build()
        self.built = True

    def call(self, tokens):
        hidden = ops.tanh(self.embedding(tokens))
        logits = self.embedding(hidden, reverse=True)
        return logits + ops.sum(self.embedding(0 * tokens)) * 0


@needs_tied_heads
def test_only_the_reverse_call_of_a_tied_head_is_recorded(rng):
    model = Tied()
    x = rng.integers(CLASSES, size=(10, TOKENS))
    extractor = FeatureExtractor(model, head="tied")
    features, _ = extractor(x, x, batch_size=4)
    np.testing.assert_allclose(
        features @ extractor.kernel,
        outputs_of(model, x).reshape(-1, CLASSES),
        atol=1e-5,
    )


def test_layers_that_are_no_heads():
    for stack in (
        [layers.Conv2D(6, 1, groups=2)],
        [layers.Conv2D(CLASSES, 2)],
        [layers.DepthwiseConv2D(1)],
        [layers.EinsumDense("abcd,de->abec", (3, CLASSES, 4))],
        [layers.EinsumDense("abcd,de->abce", (3, 4, CLASSES), bias_axes="ce")],
    ):
        with pytest.raises(ValueError, match="cannot be found"):
            FeatureExtractor(sequential((3, 4, 4), *stack))
    model = sequential((12,), dense(4, name="hidden"), dense(name="top"))
    for layer in model.layers:
        layer.quantize("int8")
    with pytest.raises(ValueError, match="'top' .* is quantised"):
        FeatureExtractor(model, head="top")
    extractor = FeatureExtractor(model, features="hidden")
    features, _ = extractor(np.ones((10, 12)), np.arange(10))
    hidden = keras.Model(model.inputs[0], model.layers[0].output)
    np.testing.assert_allclose(
        features, outputs_of(hidden, np.ones((10, 12))), atol=1e-5
    )
    assert extractor.kernel is None


def test_conv_head_of_channels_first_images(rng):
    needs_channels_first()
    head = conv(2, data_format="channels_first")
    model = sequential((4, 1, 1), head, layers.Flatten())
    x = rng.normal(size=(10, 4, 1, 1)).astype("float32")
    extractor = FeatureExtractor(model)
    features, _ = extractor(x, np.arange(10))
    np.testing.assert_array_equal(features, x[:, :, 0, 0])
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        outputs_of(model, x),
        atol=1e-5,
    )


APPLICATIONS = {
    "MobileNet": {"alpha": 0.25},
    "MobileNetV2": {"alpha": 0.35},
    "MobileNetV3Small": {"alpha": 0.75},
    "ResNet50V2": {},
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_keras_applications(name, rng):
    if keras.backend.backend() == "jax":
        pytest.skip("compiles for half a minute")
    model = getattr(keras.applications, name)(
        weights=None,
        classes=CLASSES,
        input_shape=(32, 32, 3),
        **APPLICATIONS[name],
    )
    x = rng.uniform(0, 255, size=(6, 32, 32, 3)).astype("float32")
    extractor = FeatureExtractor(model)
    extractor.head.bias.assign(rng.normal(size=CLASSES))
    features, _ = extractor(x, np.arange(6) % CLASSES, batch_size=6)
    logits = features @ extractor.kernel + extractor.bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(
        model.predict_on_batch(x), probabilities, rtol=1e-3, atol=1e-5
    )


def test_loaded_and_frozen_model(tmp_path, rng):
    model = sequential((12,), layers.Dense(4), dense(name="top"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.trainable = False
    x, y = rng.normal(size=(10, 12)).astype("float32"), np.arange(10)
    features, _ = FeatureExtractor(loaded)(x, y)
    np.testing.assert_allclose(
        features @ model.layers[-1].kernel + model.layers[-1].bias,
        outputs_of(model, x),
        atol=1e-5,
    )


class Block(layers.Layer):
    """A layer made of layers, as those of KerasHub's backbones."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(4, name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs):
        return ops.tanh(self.inner(inputs))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = Block(name="block")
        self.norm = layers.BatchNormalization(name="norm")
        self.top = dense(name="top")

    def build(self, input_shape):
        self.block.build(input_shape)
        self.norm.build((None, 4))
        self.top.build((None, 4))
        self.built = True

    def call_features(self, inputs, training=None):
        return 2.0 * self.norm(self.block(1.0 * inputs), training=training)

    def call(self, inputs, training=None):
        return self.top(self.call_features(inputs, training=training))


@pytest.fixture
def subclassed():
    model = Subclassed()
    model.build((None, 12))
    return model


@pytest.mark.parametrize("features", ["method", "sub-model", "input of head"])
def test_function_of_the_inputs(features, subclassed, rng):
    x, y = rng.normal(size=(10, 12)), np.arange(10)
    model, head = subclassed, "top"
    function = {"method": model.call_features, "input of head": None}
    if features == "sub-model":
        model = sequential((12,), layers.Dense(4), dense())
        head = None
        function[features] = keras.Model(
            model.inputs[0], model.layers[0].output
        )
    extractor = FeatureExtractor(model, head, function[features])
    for scale in (1.0, 0.5):
        # What is compiled follows the weights.
        model.set_weights([scale * weight for weight in model.get_weights()])
        values, _ = extractor(x, y, batch_size=4)
        np.testing.assert_allclose(
            values @ extractor.kernel + extractor.bias,
            outputs_of(model, x.astype("float32")),
            atol=1e-5,
        )


def test_head_that_counts_only_if_it_fits(subclassed, rng):
    x, y = rng.normal(size=(10, 12)).astype("float32"), np.arange(10)
    model = sequential((12,), dense(8, name="a"), dense(4, name="b"), dense())
    for name, fits in (("a", False), ("b", True)):
        extractor = FeatureExtractor(model, features=name)
        features, _ = extractor(x, y)
        assert (extractor.kernel is not None) == fits
        assert (extractor.bias is not None) == fits
    with pytest.raises(ValueError, match="'a' of width 8.*of width 4.*without"):
        FeatureExtractor(model, model.layers[-1], features="a")(x, y)
    extractor = FeatureExtractor(subclassed, features=subclassed.block)
    assert extractor.head is None
    features, _ = extractor(x, y)
    assert features.shape == (10, 4)
    assert extractor.kernel is None and extractor.bias is None


def test_output_of_a_layer_by_name_and_inside_of_layers(subclassed, rng):
    x, y = rng.normal(size=(10, 12)).astype("float32"), np.arange(10)
    expected = ops.convert_to_numpy(subclassed.block.inner(x))
    for features in ("inner", subclassed.block.inner):
        extractor = FeatureExtractor(subclassed, features=features)
        np.testing.assert_allclose(extractor(x, y)[0], expected, atol=1e-5)
    outer = sequential((12,), subclassed, dense(3, name="inner"))
    # A layer of the model comes before one that another layer is made of.
    assert FeatureExtractor(outer, features="inner")(x, y)[0].shape[1] == 3
    assert FeatureExtractor(outer, features="block")(x, y)[0].shape[1] == 4


def images(rng, data_format="channels_last"):
    stack = [
        layers.Conv2D(4, 3, data_format=data_format, name="conv"),
        layers.Conv2D(6, 3, data_format=data_format, name="last"),
        layers.GlobalAveragePooling2D(data_format=data_format),
        dense(name="top"),
    ]
    last = data_format == "channels_last"
    shape = (8, 7, 3) if last else (3, 8, 7)
    x = rng.normal(size=(10, *shape)).astype("float32")
    return sequential(shape, *stack), x, np.arange(10) % CLASSES


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_list_of_layers_and_pooling(data_format, rng):
    needs_channels_first(data_format)
    model, x, y = images(rng, data_format)
    axis = 3 if data_format == "channels_last" else 1
    maps = keras.Model(model.inputs[0], [x.output for x in model.layers[:2]])
    expected = [np.moveaxis(map, axis, 3) for map in maps.predict_on_batch(x)]
    logits = outputs_of(model, x)
    for pooling in ("average", "flatten"):
        extractor = FeatureExtractor(
            model, features=["conv", model.layers[1], "top"], pooling=pooling
        )
        assert extractor.names == ["conv", "last", "top"]
        batches = list(extractor.layer_batches(x, y, batch_size=4))
        assert [len(labels) for _, labels in batches] == [4, 4, 2]
        conv, last, top = (
            np.concatenate(arrays)
            for arrays in zip(*(f for f, _ in batches), strict=True)
        )
        for values, maps in ((conv, expected[0]), (last, expected[1])):
            flat = maps.reshape(10, -1)
            wanted = maps.mean((1, 2)) if pooling == "average" else flat
            np.testing.assert_allclose(values, wanted, atol=1e-5)
        np.testing.assert_allclose(top, logits, atol=1e-5)


def test_layers_without_data_format_follow_the_images(rng):
    keras.config.set_image_data_format("channels_first")
    try:
        model = sequential((3, 8, 7), layers.ReLU(name="relu"))
        x = rng.uniform(size=(10, 3, 8, 7)).astype("float32")
        extractor = FeatureExtractor(model, features="relu", pooling="average")
        features, _ = extractor(x, np.arange(10))
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(features, x.mean((2, 3)), atol=1e-5)


def test_one_pass_a_batch_for_all_layers(rng):
    passes = []

    class Counter(layers.Layer):
        def call(self, inputs):
            passes.append(inputs.shape[0])
            return inputs

    model = sequential(
        (12,), Counter(), dense(8, name="a"), dense(4, name="b"), dense()
    )
    passes.clear()
    model.run_eagerly = True
    x, y = rng.normal(size=(10, 12)).astype("float32"), np.arange(10)
    extractor = FeatureExtractor(model, features=["a", "b", "a"])
    shapes = [
        [array.shape for array in features]
        for features, _ in extractor.layer_batches(x, y, batch_size=4)
    ]
    assert passes == [4, 4, 2]
    assert shapes[-1] == [(2, 8), (2, 4), (2, 8)]
    assert extractor.kernel is None


def test_features_that_need_pooling(rng):
    model, x, y = images(rng)
    extractor = FeatureExtractor(model, features="last")
    with pytest.raises(
        ValueError, match="12 feature vectors.*average.*flatten"
    ):
        extractor(x, y)
    with pytest.raises(ValueError, match="pooling='max'"):
        FeatureExtractor(model, features="last", pooling="max")
    extractor = FeatureExtractor(model, features="last", pooling="average")
    features, _ = extractor(x, y)
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        outputs_of(model, x),
        atol=1e-5,
    )
    # The mean over positions passes through a linear head.
    model = sequential((3, 2, 4), conv(2), layers.GlobalAveragePooling2D())
    x = rng.normal(size=(10, 3, 2, 4)).astype("float32")
    extractor = FeatureExtractor(model, pooling="average")
    features, _ = extractor(x, y)
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        outputs_of(model, x),
        atol=1e-5,
    )


def test_bad_features(subclassed, rng):
    x, y = rng.normal(size=(10, 12)).astype("float32"), np.arange(10)
    with pytest.raises(
        ValueError, match="`features` must name a layer.*'blok'"
    ):
        FeatureExtractor(subclassed, features="blok")
    with pytest.raises(ValueError, match="`features` must be a layer of"):
        FeatureExtractor(subclassed, features=dense())
    with pytest.raises(ValueError, match=r"must name layers. Received: \[\]"):
        FeatureExtractor(subclassed, features=[])
    extractor = FeatureExtractor(subclassed, features=["inner", "block"])
    with pytest.raises(ValueError, match=r"`layer_batches`.*'inner', 'block'"):
        extractor(x, y)
    extractor = FeatureExtractor(subclassed, features=lambda x: [x, x])
    with pytest.raises(ValueError, match="Features must be a tensor of shape"):
        extractor(x, y)
    model = sequential((TOKENS, 4), dense(name="tokens"), layers.Flatten())
    extractor = FeatureExtractor(model, features=model.layers)
    x, y = np.zeros((10, TOKENS, 4)), np.zeros((10, TOKENS), "int32")
    with pytest.raises(ValueError, match="agree about what an example is"):
        list(extractor.layer_batches(x, y))


def hub_backbone(keras_hub, kind):
    return getattr(keras_hub.models, kind)(
        vocabulary_size=50,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=8,
    )


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub")


@pytest.fixture
def sentences(rng):
    lengths = np.arange(10) % 7 + 2
    mask = np.arange(8) < lengths[:, None]
    return {
        "token_ids": rng.integers(1, 50, size=(10, 8)) * mask,
        "padding_mask": mask,
    }


def test_keras_hub_classifier(keras_hub, sentences, rng):
    model = keras_hub.models.BertTextClassifier(
        hub_backbone(keras_hub, "BertBackbone"), num_classes=3
    )
    x = sentences | {"segment_ids": np.zeros((10, 8), "int32")}
    extractor = FeatureExtractor(model)
    features, _ = extractor(x, np.arange(10) % 3, batch_size=4)
    np.testing.assert_allclose(
        features @ extractor.kernel + extractor.bias,
        model.predict_on_batch(x),
        atol=1e-5,
    )


def test_keras_hub_language_model(keras_hub, sentences):
    model = keras_hub.models.GPT2CausalLM(
        hub_backbone(keras_hub, "GPT2Backbone")
    )
    y = np.roll(sentences["token_ids"], -1, axis=1)
    y[:, -1] = 0
    logits = model.predict_on_batch(sentences)[y != 0]
    extractor = FeatureExtractor(model)
    features, labels = extractor(sentences, y, 4, ignore_label=0)
    assert extractor.kernel.shape == (16, 50) and extractor.bias is None
    np.testing.assert_array_equal(labels, y[y != 0])
    np.testing.assert_allclose(
        features @ extractor.kernel, logits, rtol=1e-4, atol=1e-5
    )
    names = ["transformer_layer_0", "transformer_layer_1"]
    extractor = FeatureExtractor(model, features=names)
    for arrays, labels in extractor.layer_batches(sentences, y, ignore_label=0):
        shapes = [array.shape for array in arrays]
        assert shapes == 2 * [(len(labels), 16)]


def test_keras_hub_prepares_texts(keras_hub):
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] apple pear sea lake red".split()
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
        keras_hub.models.BertTokenizer(vocabulary=words), sequence_length=8
    )
    model = keras_hub.models.BertTextClassifier(
        hub_backbone(keras_hub, "BertBackbone"),
        num_classes=3,
        preprocessor=preprocessor,
    )
    x = ["apple pear", "pear", "sea lake", "lake", "red", "red red"] * 3
    y = np.array([0, 0, 1, 1, 2, 2] * 3)
    decided = np.argmax(model.predict(x, verbose=0), axis=-1)
    values = nc_keras.measure(model, x, y, batch_size=5)
    assert values["accuracy"] == np.mean(decided == y)
