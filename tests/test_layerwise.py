"""Neural collapse at every layer, against textbook formulas on real digits."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import layers
from sklearn.neighbors import NearestCentroid

import nc_keras
from nc_keras.layerwise import DEFAULT
from nc_keras.layerwise import layerwise
from nc_keras.layerwise import stages
from nc_keras.measuring.forward import Forward

SAME = {"rtol": 1e-9, "atol": 1e-12}


def mlp(widths=(24, 16, 12)):
    return nc_keras.models.MLP((8, 8, 1), 10, widths=widths)


def conv_net():
    return nc_keras.models.ConvNet((8, 8, 1), 10, filters=(6, 8))


@pytest.fixture
def forward_passes(monkeypatch):
    """Counts how many batches the model has seen."""
    batches = []
    forward = Forward.predict_on_batch

    def counted(self, inputs):
        batches.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(Forward, "predict_on_batch", counted)
    return batches


def outputs_of(model, chosen, x):
    """Features by Keras' own means: a model of several outputs."""
    model = keras.Model(model.inputs[0], [layer.output for layer in chosen])
    outputs = keras.tree.flatten(model.predict(x, verbose=0))
    return [np.asarray(h, "float64") for h in outputs]


def separation(h, y):
    """He & Su's `Tr(SS_w SS_b^+)` for unequal classes, term by term."""
    within = between = 0.0
    for c in np.unique(y):
        rows = h[y == c] - h[y == c].mean(0)
        mean = h[y == c].mean(0) - h.mean(0)
        within = within + rows.T @ rows / len(h)
        between = between + np.outer(mean, mean) * len(rows) / len(h)
    inverse = np.linalg.pinv(between, rcond=1e-10, hermitian=True)
    return np.trace(within @ inverse)


def unequal(digits):
    """Digits of which there are fewer, the larger they are."""
    x, y = digits
    rank = np.array([np.sum(y[:i] == c) for i, c in enumerate(y)])
    keep = rank < 170 - 15 * y
    return x[keep], y[keep]


def equal(digits):
    x, y = digits
    keep = np.concatenate([np.flatnonzero(y == c)[:100] for c in range(10)])
    return x[keep], y[keep]


def test_separation_is_that_of_he_and_su(digits):
    x, y = unequal(digits)
    model = mlp()
    chosen = stages(model)
    result = layerwise(model, x, y)
    assert list(result) == [layer.name for layer in chosen]
    assert list(result.dims.values()) == [24, 16, 12]
    for layer, h in zip(chosen, outputs_of(model, chosen, x), strict=True):
        value = result[layer.name]["separation"]
        np.testing.assert_allclose(value, separation(h, y), rtol=1e-4)
        # Weighting the classes matters here.
        assert abs(value / (10 * result[layer.name]["nc1"]) - 1) > 0.02


def test_separation_of_equal_classes_is_c_times_nc1(digits):
    result = layerwise(mlp(), *equal(digits))
    np.testing.assert_allclose(
        result.column("separation"), 10 * result.column("nc1"), rtol=1e-9
    )


def test_separation_where_classes_outnumber_dimensions(digits):
    x, y = unequal(digits)
    model = mlp((12, 3))
    result = layerwise(model, x, y)
    h = outputs_of(model, stages(model), x)[-1]
    value = list(result.values())[-1]["separation"]
    np.testing.assert_allclose(value, separation(h, y), rtol=1e-4)


def test_other_metrics_are_those_of_measure(digits):
    x, y = unequal(digits)
    model = mlp()
    tags = ["nc1", "nc1_trace_ratio", "nc1_cdnv", "nc2_etf_means", "vci"]
    result = layerwise(model, x, y, metrics=tags)
    assert result.law is None
    for layer in stages(model):
        alone = nc_keras.measure(model, x, y, features=layer, metrics=tags)
        assert set(alone) == set(result[layer.name])
        for tag, value in alone.items():
            np.testing.assert_allclose(
                result[layer.name][tag], value, rtol=1e-4, err_msg=tag
            )
    last = nc_keras.measure(model, x, y, metrics=tags)
    np.testing.assert_allclose(result.column("nc1")[-1], last["nc1"], 1e-4)


@pytest.mark.parametrize("with_train", [False, True])
def test_nearest_class_mean(with_train, digits):
    x, y = digits
    model, half = mlp(), slice(900)
    rest = slice(900, None) if with_train else half
    train = (x[half], y[half]) if with_train else None
    result = layerwise(
        model, x[rest], y[rest], train=train, metrics="ncc_accuracy"
    )
    for layer, h in zip(
        stages(model), outputs_of(model, stages(model), x), strict=True
    ):
        rule = NearestCentroid().fit(h[half], y[half])
        assert result[layer.name] == {
            "ncc_accuracy": pytest.approx(rule.score(h[rest], y[rest]), 1e-9)
        }


def test_law_is_a_linear_regression(digits):
    result = layerwise(mlp((32, 24, 16, 12)), *digits)
    logs = np.log(result.column("separation"))
    line = scipy.stats.linregress(np.arange(len(logs)), logs)
    assert result.law.slope == pytest.approx(line.slope)
    assert result.law.correlation == pytest.approx(line.rvalue)
    assert result.law.decay_ratio == pytest.approx(np.exp(line.slope))


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_pooling(pooling, digits):
    x, y = unequal(digits)
    model = conv_net()
    chosen = [layer for layer in model.layers if "re_lu" in layer.name]
    result = layerwise(model, x, y, layers=chosen, pooling=pooling)
    assert result.pooling == pooling and pooling in str(result)
    outputs = outputs_of(model, chosen, x)
    for layer, h in zip(chosen, outputs, strict=True):
        h = h.mean((1, 2)) if pooling == "average" else h.reshape(len(h), -1)
        assert result.dims[layer.name] == h.shape[1]
        np.testing.assert_allclose(
            result[layer.name]["separation"], separation(h, y), rtol=1e-3
        )


def test_default_layers_of_convolutions(digits):
    model = conv_net()
    kinds = [type(layer).__name__ for layer in stages(model)]
    assert kinds == ["MaxPooling2D", "GlobalAveragePooling2D"]
    names = [layer.name for layer in stages(model)]
    assert list(layerwise(model, *digits, metrics="nc1")) == names


def test_one_forward_pass_for_all_layers(digits, forward_passes):
    layerwise(mlp(), *digits, batch_size=600)
    assert len(forward_passes) == 3


def test_streaming_equals_memory(digits, forward_passes):
    x, y = digits
    model = mlp()
    tags = [*DEFAULT, "nc2_max_angle_means", "vci", "per_class_variance"]
    kept = layerwise(model, x, y, metrics=tags, batch_size=400)
    assert len(forward_passes) == 5
    streamed = layerwise(model, x, y, metrics=tags, batch_size=400, memory=0)
    assert len(forward_passes) == 15
    for name, values in kept.items():
        for tag in tags:
            np.testing.assert_allclose(
                streamed[name][tag], values[tag], err_msg=tag, **SAME
            )
    layerwise(model, x, y, metrics="nc1_cdnv", batch_size=400, memory=0)
    assert len(forward_passes) == 20


def test_no_matrix_of_wide_layers(digits, rng):
    x, y = digits[0][:200], digits[1][:200]
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(3000, 1)(inputs)  # 192,000 values: D x D is 295 GB.
    h = layers.ReLU(name="wide")(h)
    h = layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, layers.Dense(10)(h))
    options = {"layers": "wide", "pooling": "flatten", "batch_size": 50}
    result = layerwise(model, x, y, memory=2**20, **options)
    assert result.dims == {"wide": 192000}
    assert result["wide"]["nc1"] > 0


def batches(x, y, size=300):
    for start in range(0, len(y), size):
        yield x[start : start + size], y[start : start + size]


def test_datasets_of_one_pass(digits):
    model = mlp()
    result = layerwise(model, batches(*digits))
    expected = layerwise(model, *digits)
    np.testing.assert_allclose(
        result.column("separation"), expected.column("separation"), 1e-4
    )
    trace = layerwise(
        model, batches(*digits), metrics="nc1_trace_ratio", memory=0
    )
    assert trace.column("nc1_trace_ratio").min() > 0
    with pytest.raises(ValueError, match="Raise `memory`"):
        layerwise(model, batches(*digits), memory=0)


def test_one_pass_where_the_scatter_is_gathered(digits):
    model = mlp()
    result = layerwise(
        model, batches(*digits), metrics=["vci", "nc1"], memory=0
    )
    expected = layerwise(model, *digits, metrics=["vci", "nc1"])
    np.testing.assert_allclose(
        result.column("nc1"), expected.column("nc1"), 1e-4
    )
    with pytest.raises(ValueError, match="^nc1 needs a second pass"):
        tags = ["nc1_trace_ratio", "nc1"]
        layerwise(model, batches(*digits), metrics=tags, memory=0)


def test_one_hot_labels_and_tf_data(digits):
    x, y = digits
    model = mlp()
    one_hot = layerwise(model, x, np.eye(10)[y])
    expected = layerwise(model, x, y)
    assert one_hot == expected
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(256)
    values = layerwise(model, dataset, train=dataset, memory=0)
    for tag in DEFAULT:
        np.testing.assert_allclose(
            values.column(tag), expected.column(tag), rtol=1e-6, err_msg=tag
        )


def residual():
    """Two residual blocks, in a nested model, with a softmax at the end."""
    inner = keras.Input((8, 8, 1))
    h = layers.Conv2D(4, 3, padding="same", name="stem")(inner)
    h = layers.ReLU(name="stem_relu")(h)
    for block in ("one", "two"):
        branch = layers.Conv2D(4, 3, padding="same")(h)
        branch = layers.BatchNormalization()(branch)
        branch = layers.ReLU()(branch)
        branch = layers.Conv2D(4, 3, padding="same")(branch)
        h = layers.Add(name=f"{block}_add")([h, branch])
        h = layers.ReLU(name=f"{block}_relu")(h)
    h = layers.GlobalAveragePooling2D(name="pool")(h)
    backbone = keras.Model(inner, h, name="backbone")
    inputs = keras.Input((8, 8, 1))
    h = layers.Dropout(0.5)(backbone(inputs))
    top = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="projector"), layers.ReLU()]
    )
    h = layers.Dense(10, name="head")(top(h))
    return keras.Model(inputs, layers.Softmax()(h))


def test_stages_of_residual_and_nested_models(digits):
    model = residual()
    names = [layer.name for layer in stages(model)]
    assert names[:2] == ["stem_relu", "one_relu"]
    assert names[2].startswith("dropout") and names[3].startswith("re_lu")
    assert len(names) == 4
    result = layerwise(model, *digits)
    assert list(result.dims.values()) == [4, 4, 4, 5]
    last = nc_keras.measure(model, *digits, metrics="nc1")["nc1"]
    np.testing.assert_allclose(result.column("nc1")[-1], last, rtol=1e-4)


def test_stages_of_a_head_inside():
    inner = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(6, name="hidden"),
            layers.Dense(3, name="head"),
        ]
    )
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="first"), inner]
    )
    model = keras.Sequential([model, layers.Softmax()])
    model.build((None, 8))
    assert [layer.name for layer in stages(model)] == ["first", "hidden"]
    hidden = [layer.name for layer in stages(model, "hidden")]
    assert hidden == ["first"]


def test_stages_where_operations_are_no_layers():
    inputs = keras.Input((8,))
    h = layers.Dense(8, name="first")(inputs)
    h = keras.ops.sin(h)
    h = h + layers.Dense(8, name="branch")(h)
    h = layers.ReLU(name="relu")(h)
    outputs = layers.Dense(3)(h)
    found = stages(keras.Model(inputs, outputs))
    assert [layer.name for layer in found] == ["first", "relu"]


def test_stages_leave_out_what_is_used_twice():
    relu = layers.ReLU(name="relu")
    inputs = keras.Input((8,))
    h = relu(layers.Dense(8, name="first")(inputs))
    h = relu(layers.Dense(8, name="second")(h))
    found = stages(keras.Model(inputs, layers.Dense(3)(h)))
    assert [layer.name for layer in found] == ["first", "second"]


def test_stages_of_another_of_several_outputs():
    inputs = keras.Input((8,))
    h = layers.Dense(8, name="trunk")(inputs)
    left = layers.Dense(3, name="left")(layers.Dense(4, name="arm")(h))
    right = layers.Dense(2, name="right")(h)
    model = keras.Model(inputs, [left, right])
    assert [layer.name for layer in stages(model, "left")] == ["trunk", "arm"]
    assert [layer.name for layer in stages(model, "right")] == ["trunk"]


def test_layers_of_the_same_name(digits):
    def part():
        return keras.Sequential([layers.Dense(6, name="dense")])

    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), part(), part()]
    )
    model.add(layers.Dense(10))
    result = layerwise(model, *digits, metrics="nc1")
    assert list(result) == ["dense", "dense (2)"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat = layers.Flatten()
        self.hidden = layers.Dense(6, name="hidden")
        self.classifier = layers.Dense(10, name="classifier")

    def call(self, inputs):
        return self.classifier(self.hidden(self.flat(inputs)))


def test_subclassed_models_need_layers(digits):
    model = Subclassed()
    model(digits[0][:2])
    with pytest.raises(ValueError, match="Pass `layers`.*'hidden'"):
        layerwise(model, *digits)
    result = layerwise(model, *digits, layers=["hidden", model.classifier])
    assert result.dims == {"hidden": 6, "classifier": 10}


def test_models_without_a_head(digits):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(3, 3, name="conv")]
    )
    model.add(layers.LeakyReLU(name="relu"))
    assert [layer.name for layer in stages(model)] == ["relu"]
    assert layerwise(model, *digits)["relu"]["nc1"] > 0


def test_missing_classes(digits):
    x, y = digits
    model, keep = mlp(), y % 3 != 1
    with pytest.raises(ValueError, match='missing="skip"'):
        layerwise(model, x[keep], y[keep])
    result = layerwise(model, x[keep], y[keep], missing="skip")
    h = outputs_of(model, stages(model), x[keep])[0]
    value = next(iter(result.values()))["separation"]
    np.testing.assert_allclose(value, separation(h, y[keep]), rtol=1e-4)
    values = list(layerwise(model, x, y).values())
    test = layerwise(model, x[keep], y[keep], train=(x, y), missing="skip")
    assert test.column("ncc_accuracy").min() > 0.3
    assert list(test.values()) != values


def test_a_last_class_that_is_missing(digits):
    x, y = digits
    few = y < 9
    with pytest.raises(ValueError, match="1 of 10 classes: 9"):
        layerwise(mlp(), x[few], y[few])
    headless = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3)])
    assert layerwise(headless, x[few], y[few], metrics="nc1")
    with pytest.raises(ValueError, match="1 of 10 classes: 9"):
        layerwise(headless, x[few], y[few], train=(x, y))


def test_tokens(rng):
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(20, 8, name="embedding"),
            layers.Dense(5, name="hidden"),
            layers.Dense(4),
        ]
    )
    x = rng.integers(0, 20, (50, 6))
    y = np.where(x % 5 == 4, -100, x % 5)
    result = layerwise(model, x, y, pooling=None, ignore_label=-100)
    assert list(result) == ["embedding", "hidden"]
    assert "pooling" not in str(result)
    alone = nc_keras.measure(
        model, x, y, features="embedding", ignore_label=-100, metrics="nc1"
    )
    assert result["embedding"]["nc1"] == pytest.approx(alone["nc1"], rel=1e-6)


def test_a_layer_that_is_dead_or_not_finite(digits):
    model = mlp((8, 6))
    first, second = [w for w in model.weights if w.path.endswith("gamma")]
    second.assign(np.zeros(6))
    result = layerwise(model, *digits)
    assert np.isfinite(result.column("separation")[0])
    assert np.isnan(result.column("separation")[1])
    assert np.isnan(result.law.slope) and "nan" in str(result)
    first.assign(np.full(8, np.inf))
    with pytest.raises(nc_keras.metrics.NonFiniteError, match="Layer 're_lu"):
        layerwise(model, *digits)


def test_table(digits):
    lines = str(layerwise(conv_net(), *digits)).splitlines()
    assert lines[0].split() == ["layer", "D", *DEFAULT]
    assert lines[1].startswith("max_pooling2d") and lines[1].split()[1] == "6"
    assert "changes by the factor" in lines[3]
    assert lines[4].endswith("(of two layers: a line fits always).")
    assert 'pooling="average"' in lines[5]
    assert len({len(line) for line in lines[:3]}) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"metrics": ["nc3"]}, "head's weights"),
        ({"metrics": ["seperation"]}, "There is no metric"),
        ({"metrics": []}, "At least one metric"),
        ({"layers": ["nothing"]}, "must name a layer"),
        ({"layers": []}, "must name layers"),
        ({"pooling": "max"}, "`pooling` must be one of"),
        ({"missing": "drop"}, "`missing` must be"),
        ({"head": "nothing"}, "must name a layer"),
        ({"num_classes": 3}, "Labels must be in 0 .. 2"),
    ],
)
def test_errors(options, message, digits):
    with pytest.raises(ValueError, match=message):
        layerwise(mlp(), *digits, **options)


def test_all_metrics_without_a_head(digits):
    result = layerwise(mlp(), *digits, metrics="all")
    values = next(iter(result.values()))
    assert {*DEFAULT, "nc2_etf_means", "per_class_variance"} <= set(values)
    assert not {"nc3", "vci", "accuracy"} & set(values)
    # Arrays are in the result, but not in the table.
    assert "per_class" not in str(result)


def test_few_layers_have_no_law(digits):
    x, y = digits[0][:200], digits[1][:200]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(16, 8))
    two = nc_keras.layerwise(model, x, y)
    assert len(two) == 2 and two.law.decay_ratio > 0
    assert np.isnan(two.law.correlation)
    assert "(of two layers: a line fits always)" in str(two)
    one = nc_keras.layerwise(model, x, y, layers=list(two)[:1])
    assert "One layer: the law of data separation needs more." in str(one)
    assert "nan" not in str(one) + str(two) and "Pearson" not in str(two)
    model.compile("sgd", loss=nc_keras.losses.CE())
    callback = nc_keras.callbacks.LayerwiseCollapse(x, y, layers=list(two)[:1])
    logs = model.fit(x, y, verbose=0, callbacks=[callback]).history
    assert np.isfinite([v for values in logs.values() for v in values]).all()
