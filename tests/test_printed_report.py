"""The report: its values are those of `measure`, and its table can be read."""

import sys

import keras
import numpy as np
import pytest
import sklearn.decomposition
import sklearn.metrics
from keras import layers

import nc_keras
from nc_keras import detection
from nc_keras.detection import MEASURES
from nc_keras.measuring.forward import Forward
from nc_keras.measuring.registry import METRICS
from nc_keras.report import Report
from nc_keras.report import report

NUMBERS = ("train", "test", "ood")


def mlp(widths=(24, 12)):
    return nc_keras.models.MLP((8, 8, 1), 10, widths=widths)


@pytest.fixture
def parts(digits):
    """Digits of the training set, and of the test set."""
    x, y = digits
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


@pytest.fixture
def ood(digits):
    """Upside down, transposed digits."""
    return np.swapaxes(digits[0][:500], 1, 2)[:, ::-1] * 1.2


@pytest.fixture
def forward_passes(monkeypatch):
    """Counts the examples that the model has seen, batch by batch."""
    sizes = []
    forward = Forward.predict_on_batch

    def counted(self, inputs):
        sizes.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(Forward, "predict_on_batch", counted)
    return sizes


def quiet(*args, **kwargs):
    return report(*args, print_fn=lambda text: None, **kwargs)


def assert_same(values, expected, rtol=1e-6):
    assert list(values) == list(expected)
    for tag, value in expected.items():
        np.testing.assert_allclose(values[tag], value, rtol, 1e-9, err_msg=tag)


@pytest.mark.parametrize("memory", [2**31, 0])
@pytest.mark.parametrize("metrics", [None, "all", ["nc1", "accuracy"]])
def test_values_are_those_of_measure(metrics, memory, parts):
    train, test = parts
    model = mlp()
    values = quiet(model, train, test, metrics=metrics, memory=memory)
    expected = nc_keras.measure(model, *train, metrics=metrics)
    assert_same(values["train"], expected)
    h, y = nc_keras.FeatureExtractor(model)(*train)
    means = np.array([h[y == c].mean(0) for c in range(10)], "float64")
    expected = nc_keras.measure(
        model,
        *test,
        train_means=means,
        train_counts=np.bincount(train[1]),
        metrics=metrics,
    )
    assert_same(values["test"], expected, 1e-5)
    assert ("ncc_accuracy" in values["test"]) == (
        metrics != ["nc1", "accuracy"]
    )


@pytest.mark.parametrize("with_test", [True, False])
def test_detection_of_other_data(with_test, parts, ood):
    train, test = parts
    model = mlp()
    values = quiet(model, train, test if with_test else None, ood=ood)
    extractor = nc_keras.FeatureExtractor(model)
    h, y = extractor(*train)
    known = extractor(*test)[0] if with_test else h
    other, _ = extractor(ood, np.zeros(len(ood), int))
    pca = sklearn.decomposition.PCA(9).fit(h.astype("float64"))

    def scores(features):
        inside = np.linalg.norm(pca.transform(features), axis=1)
        return inside / np.linalg.norm(features - pca.mean_, axis=1)

    truth = np.repeat([1, 0], [len(known), len(other)])
    score = np.concatenate([scores(known), scores(other)])
    found = values["ood"]
    expected = sklearn.metrics.roc_auc_score(truth, score)
    assert 0.5 < expected < 0.999
    assert found["neco_auroc"] == pytest.approx(expected, abs=1e-4)
    fpr, tpr, _ = sklearn.metrics.roc_curve(truth, score)
    expected = fpr[np.argmax(tpr >= 0.95)]
    assert found["neco_fpr95"] == pytest.approx(expected, abs=0.005)
    measured = nc_keras.measure(model, *train, ood=ood, metrics="nc5")
    assert values["train"]["nc5"] == pytest.approx(measured["nc5"], rel=1e-5)
    assert "nc1" in values["train"] and "vci" not in values["train"]
    precision = sklearn.metrics.average_precision_score(
        truth, np.concatenate(values.ood_scores["neco"])
    )
    assert found["neco_aupr"] == pytest.approx(precision, rel=1e-9)


def test_nc5_of_a_test_set(parts, ood):
    train, test = parts
    model = mlp()
    values = quiet(model, train, test, ood=(ood, None), metrics=["nc5"])
    for name, part in (("train", train), ("test", test)):
        expected = nc_keras.measure(model, *part, ood=ood, metrics="nc5")
        assert_same(values[name], expected, 1e-5)


def test_dimension_of_the_principal_space(parts, ood):
    model = mlp()
    first = quiet(model, *parts, ood=ood)["ood"]
    assert quiet(model, *parts, ood=ood, neco_dim=9)["ood"] == first
    assert quiet(model, *parts, ood=ood, neco_dim=3)["ood"] != first


def test_one_forward_pass_over_each_data_set(parts, ood, forward_passes):
    train, test = parts
    quiet(mlp(), train, test, ood=ood, batch_size=600)
    # 1200, 597 and 500 examples.
    assert len(forward_passes) == 2 + 1 + 1


def test_streaming_passes(parts, ood, forward_passes):
    train, test = parts
    model = mlp()
    options = {"ood": ood, "batch_size": 600}
    kept = quiet(model, train, test, **options)
    del forward_passes[:]
    streamed = quiet(model, train, test, memory=0, **options)
    # NC4 compares with means that are known only after the first pass.
    assert len(forward_passes) == 2 * 2 + 1 + 1
    for tag in [tag for tag in kept["ood"] if tag.startswith("vim_")]:
        del kept["ood"][tag]
    for name in NUMBERS:
        assert_same(streamed[name], kept[name])
    assert "vim is left out" in str(streamed)
    assert "vim is left out" not in str(kept)
    del forward_passes[:]
    quiet(model, train, test, memory=0, metrics="nc1", **options)
    assert len(forward_passes) == 2 + 1 + 1
    del forward_passes[:]
    quiet(model, train, test, memory=0, metrics="nc1", batch_size=600)
    assert len(forward_passes) == 2 + 1


def test_scores_are_the_same_in_parts(parts, ood, monkeypatch):
    model = mlp()
    together = quiet(model, *parts, ood=ood)["ood"]
    monkeypatch.setattr(detection, "CHUNK", 1)
    parted = quiet(model, *parts, ood=ood, batch_size=50)["ood"]
    assert parted == pytest.approx(together, abs=1e-3)


def batches(x, y, size=300):
    for start in range(0, len(y), size):
        yield x[start : start + size], y[start : start + size]


def test_datasets(parts, ood):
    train, test = parts
    model = mlp()
    expected = quiet(model, train, test, ood=ood)
    labels = np.full(len(ood), -1)
    values = quiet(
        model, batches(*train), batches(*test), ood=batches(ood, labels)
    )
    for name in NUMBERS:
        assert_same(values[name], expected[name], 1e-4)
    with pytest.raises(ValueError, match="`ood` without a test set"):
        quiet(model, batches(*train), ood=ood, memory=0, metrics="nc1")


def test_one_hot_labels(parts):
    (x, y), _ = parts
    model = mlp()
    values = quiet(model, (x, np.eye(10)[y]))
    assert_same(values["train"], quiet(model, (x, y))["train"])


def test_table(parts, ood, capsys):
    model = mlp()
    values = report(model, *parts, ood=ood, metrics="all")
    printed = capsys.readouterr().out
    assert printed == f"{values}\n"
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert (
        lines[0] == "Neural collapse of 'mlp': 10 classes, D = 12, head 'head'"
    )
    assert lines[1] == "1,200 examples of train, 597 of test, 500 of ood"
    assert lines[3].split() == ["train", "test", "goes", "to"]
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    for name in ("train", "test"):
        column = 1 if name == "train" else 2
        for tag, value in values[name].items():
            if not np.ndim(value):
                assert rows[tag].split()[column] == f"{value:.4g}", tag
    assert rows["ncc_accuracy"].split()[1] == "-"
    for name in ("neco", "vim"):
        found = [values["ood"][f"{name}_{end}"] for end in MEASURES]
        assert rows[name].split()[1:] == [f"{one:.4g}" for one in found]
    assert rows["nc1"].endswith("0: within / between, C-1 axes")
    assert rows["accuracy"].endswith("1: the head is right")
    titles = [line[:3] for line in lines[3:] if line and line[0] != " "]
    assert titles[:5] == ["NC1", "NC2", "NC3", "NC4", "NC0"]
    assert "Not shown" in printed and "per_class_variance" in printed


def test_columns_are_aligned(parts):
    lines = str(quiet(mlp(), *parts)).splitlines()
    head = next(line for line in lines if line.endswith("goes to"))
    notes = head.index("goes to")
    rows = [line for line in lines if line.startswith("  ") and line != head]
    assert len(rows) == 17
    for line in rows:
        assert line[notes - 2 : notes] == "  " != line[notes : notes + 2]
        for name in ("train", "test"):
            end = head.index(name) + len(name)
            assert line[end - 1] != " " == line[end]


def test_no_note_is_cut():
    names = [tag for tag, m in METRICS.items() if not m.per_class]
    values = dict.fromkeys(names, 0.123456)
    text = str(Report({"train": values, "test": values}))
    for tag in names:
        assert METRICS[tag].note in text


def test_custom_and_long_metrics():
    tag = "a_metric_whose_name_is_longer_than_any_table_can_take"
    text = str(Report({"train": {tag: 1.0, "nc1": 1.0}, "test": {"nc1": 2.0}}))
    assert max(map(len, text.splitlines())) <= 80
    assert "Others" in text and "..." in text


def test_values_a_class(parts, capsys):
    values = report(mlp(), *parts, per_class=True)
    text = capsys.readouterr().out
    assert values["train"]["per_class_accuracy"].shape == (10,)
    lines = text.splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith("train "))
    assert lines[start].split()[:3] == ["train", "variance", "norm_means"]
    for c in range(10):
        cells = lines[start + 1 + c].split()
        assert cells[0] == str(c)
        assert cells[1] == f"{values['train']['per_class_variance'][c]:.4g}"
    assert max(map(len, lines)) <= 80 and "Not shown" not in text


def test_missing_classes(parts, capsys):
    (x, y), (x_test, y_test) = parts
    few = y_test < 7
    test = x_test[few], y_test[few]
    model = mlp()
    with pytest.raises(ValueError, match='missing="skip"'):
        quiet(model, (x, y), test)
    values = report(
        model, (x, y), test, missing="skip", metrics=["nc1"], per_class=True
    )
    text = capsys.readouterr().out
    assert "3 of 10 classes without an example of test: 7, 8, 9" in text
    assert len(values["test"]["per_class_variance"]) == 7
    assert text.splitlines()[-3].split()[0] == "6"
    # Classes that the training set lacks.
    keep = y > 1
    values = quiet(model, (x[keep], y[keep]), test, missing="skip")
    assert "2 of 10 classes without an example of train: 0, 1" in str(values)
    assert 0 <= values["test"]["ncc_accuracy"] <= 1


def test_values_that_are_not_numbers(parts):
    model = mlp()
    gammas = [w for w in model.weights if w.path.endswith("gamma")]
    gammas[-1].assign(np.zeros(12))
    values = quiet(model, *parts)
    assert np.isnan(values["train"]["nc1"])
    assert " nan " in str(values) and "nan, inf: the formula" in str(values)


def test_features_without_a_head(parts, ood):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(12, 3, activation="relu", name="conv"),
        ]
    )
    train, test = parts
    options = {"features": "conv", "pooling": "average"}
    values = quiet(model, train, test, ood=ood, **options)
    expected = nc_keras.measure(model, *train, ood=ood, **options)
    nc5 = values["train"].pop("nc5")
    assert nc5 > 0
    assert_same(values["train"], expected)
    assert "features of 'conv'" in str(values)
    assert "nc3" not in values["train"]
    assert "ncc_accuracy" in values["test"]


def test_head_is_not_found_half_way(parts):
    """By `features` alone, train and test are measured alike."""
    model = mlp()
    hidden = model.layers[-2].name
    values = quiet(model, *parts, features=hidden)
    extra = set(values["test"]) - set(values["train"])
    assert extra == {"ncc_accuracy"}


def test_sampled_pairs(parts):
    values = quiet(mlp(), *parts, metrics=["nc1_cdnv"], pairs=50)
    assert set(values["train"]) == {"nc1_cdnv", "nc1_cdnv_standard_error"}


def test_only_what_was_chosen(parts, ood):
    values = quiet(mlp(), *parts, ood=ood, metrics=["ncc_accuracy"])
    assert set(values["train"]) == {"nc5"}
    assert set(values["test"]) == {"ncc_accuracy", "nc5"}
    assert {"neco_auroc", "neco_fpr95", "vim_aupr"} < set(values["ood"])
    assert len(values["ood"]) == 7 * len(MEASURES)


def test_own_metrics_of_other_data(parts, ood, monkeypatch):
    registered = dict(METRICS)
    monkeypatch.setattr("nc_keras.measuring.registry.METRICS", registered)
    module = sys.modules["nc_keras.report"]
    monkeypatch.setattr(module, "METRICS", registered)

    @nc_keras.metrics.metric("ood_norm", "ood", default=False)
    def ood_norm(layer):
        return np.linalg.norm(layer.ood_mean)

    @nc_keras.metrics.metric(
        "twice", "means", "train_means", over="examples", default=False
    )
    def twice(examples):
        return 2.0 * (examples.nearest_means == examples.labels)

    tags = ["ood_norm", "twice", "ncc_accuracy"]
    values = quiet(mlp(), *parts, ood=ood, metrics=tags)
    assert set(values["train"]) == {"nc5", "ood_norm"}
    assert values["train"]["ood_norm"] == values["test"]["ood_norm"] > 0
    assert values["test"]["twice"] == 2 * values["test"]["ncc_accuracy"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"metrics": ["nc9"]}, "There is no metric"),
        ({"metrics": []}, "At least one metric"),
        ({"metrics": ["nc5"]}, "out-of-distribution"),
        ({"metrics": "ncc_accuracy", "test": None}, "train_means"),
        ({"missing": "drop"}, "`missing` must be"),
        ({"head": "nothing"}, "must name a layer"),
        ({"ood": np.zeros((4, 8, 8, 1)), "neco_dim": 99}, "`dim` must be"),
    ],
)
def test_errors(options, message, parts):
    train, test = parts
    arguments = {"test": test} | options
    with pytest.raises(ValueError, match=message):
        quiet(mlp(), train, **arguments)


def test_report_and_measure_hint_at_each_other(digits):
    x, y = digits[0][:100], digits[1][:100]
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(8,))
    with pytest.raises(ValueError, match=r"`report\(model, \(x, y\)\)`"):
        nc_keras.report(model, x, y)
    with pytest.raises(ValueError, match=r"`measure\(model, x, y\)`"):
        nc_keras.measure(model, (x, y))


def test_what_two_classes_cannot_tell(rng):
    x, y = rng.normal(size=(40, 4)), np.arange(40) % 2
    texts = []
    for head in ("linear", "etf"):
        model = nc_keras.models.MLP((4,), 2, widths=(8,), head=head)
        values = nc_keras.report(model, (x, y), print_fn=texts.append)["train"]
        _, _, tags = texts[-1].partition("0 by definition, of two classes:")
        for tag in tags.replace(".", "").replace(",", " ").split():
            if tag != "nc3_duality":  # 0, or 2 of a head turned round
                assert abs(values[tag]) < 1e-6, tag
    assert "nc3_duality" in texts[1].split("0 by definition")[1]
    assert "nc3_duality" not in texts[0].split("0 by definition")[1]
    three = nc_keras.models.MLP((4,), 3, widths=(8,))
    nc_keras.report(three, (x, np.arange(40) % 3), print_fn=texts.append)
    assert "by definition" not in texts[-1]


def test_classes_have_names(few_classes):
    model, data = few_classes
    names = ["cat", "dog", "a long name"]
    printed = []
    nc_keras.report(
        model,
        data,
        per_class=True,
        class_names=names,
        print_fn=printed.append,
    )
    rows = [line for line in printed[0].splitlines() if "a long n" in line]
    assert rows and "     cat" in printed[0]
    with pytest.raises(ValueError, match="3 in all. Received: 2 names"):
        nc_keras.report(model, data, class_names=names[:2], print_fn=str)


def test_an_extractor_stands_for_its_model(few_classes):
    model, data = few_classes
    extractor = nc_keras.FeatureExtractor(model)
    expected = nc_keras.measure(model, *data)
    assert nc_keras.measure(extractor, *data) == expected
    found = nc_keras.report(extractor, data, print_fn=str)
    assert found["train"] == expected
    layers = nc_keras.FeatureExtractor(
        model, features=model.layers[-2:-1], pooling="average"
    )
    by_layer = nc_keras.layerwise(model, *data, layers=model.layers[-2:-1])
    assert nc_keras.layerwise(layers, *data) == by_layer
    with pytest.raises(ValueError, match="knows its head"):
        nc_keras.measure(extractor, *data, head=model.layers[-1])
    with pytest.raises(ValueError, match="must be of a list"):
        nc_keras.layerwise(extractor, *data)


@pytest.fixture
def few_classes(rng):
    x = rng.normal(size=(30, 4)).astype("float32")
    return nc_keras.models.MLP((4,), 3, widths=(8,)), (x, np.arange(30) % 3)


def test_a_list_of_batches_is_a_data_set(parts):
    (x, y), _ = parts
    batches = [(x[:300], y[:300]), (x[300:], y[300:])]
    model = mlp()
    whole = quiet(model, (x, y), metrics="nc1")
    for split in (
        batches,
        [*batches[:1], (x[300:400], y[300:400]), (x[400:], y[400:])],
    ):
        values = quiet(model, split, metrics="nc1")
        assert values["train"]["nc1"] == pytest.approx(
            whole["train"]["nc1"], rel=1e-6
        )
