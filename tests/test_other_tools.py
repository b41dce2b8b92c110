"""nc_keras with the tools of others, each as docs/other_tools.md has it."""

import importlib
import json

import keras
import numpy as np
import pytest

import nc_keras


@pytest.fixture
def data(digits):
    x, y = digits
    return x[:300], y[:300]


def network(head="linear", rate=0.1):
    model = nc_keras.models.MLP((8, 8, 1), 10, (16,), head=head)
    model.compile(
        nc_keras.optimizers.SGD(rate, 0.9),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    return model


def test_pandas_reads_the_log(data, tmp_path):
    pandas = pytest.importorskip("pandas")
    panels = nc_keras.callbacks.NCTensorBoard(tmp_path, *data)
    history = network().fit(*data, epochs=2, callbacks=[panels], verbose=0)
    table = pandas.read_json(tmp_path / "metrics.jsonl", lines=True)
    assert table.nc1.tolist() == pytest.approx(history.history["nc1"])


@pytest.mark.filterwarnings("ignore")
def test_tbparse_reads_the_panels(data, tmp_path):
    tbparse = pytest.importorskip("tbparse")
    panels = nc_keras.callbacks.NCTensorBoard(tmp_path, *data)
    history = network().fit(*data, epochs=2, callbacks=[panels], verbose=0)
    table = tbparse.SummaryReader(str(tmp_path)).tensors
    values = table[table.tag == "nc/nc1"].value
    assert values.tolist() == pytest.approx(history.history["nc1"], rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_keras_tuner_minimises_a_metric(data, tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")

    class Rates(keras_tuner.HyperModel):
        def build(self, hp):
            rate = hp.Float("rate", 1e-3, 0.3, sampling="log")
            return network(rate=rate)

        def fit(self, hp, model, *args, callbacks=(), **options):
            panels = nc_keras.callbacks.NCTensorBoard(
                tmp_path / f"rate_{hp.get('rate'):.4g}",
                *data,
                data,
                epochs=2,
            )
            callbacks = [panels, *callbacks]
            return model.fit(*args, callbacks=callbacks, **options)

    tuner = keras_tuner.RandomSearch(
        Rates(),
        keras_tuner.Objective("val_nc1", "min"),
        max_trials=2,
        seed=0,
        directory=tmp_path / "tuner",
    )
    # The second and the fourth epoch are measured, and the first.
    tuner.search(*data, validation_data=data, epochs=4, verbose=0)
    trials = tuner.oracle.get_best_trials(2)
    found = []
    for trial in trials:
        rate = trial.hyperparameters.get("rate")
        log = tmp_path / f"rate_{rate:.4g}" / "metrics.jsonl"
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        found.append(min(r["val_nc1"] for r in rows if "val_nc1" in r))
    assert [trial.score for trial in trials] == pytest.approx(sorted(found))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ["linear", "etf"])
def test_scikit_learn_takes_probabilities(data, head):
    # What the wrapper cannot invert are outputs that sum to zero.
    x, y = data
    x = x.reshape(len(x), -1)

    def build(X, y):
        network = nc_keras.models.MLP((64,), 10, (16,), head=head)
        model = keras.Sequential([network, keras.layers.Softmax()])
        model.compile("sgd", loss="categorical_crossentropy")
        return model

    classifier = keras.wrappers.SKLearnClassifier(
        build, fit_kwargs={"epochs": 2, "verbose": 0}
    )
    classifier.fit(x, y)
    assert set(classifier.predict(x)) <= set(range(10))
    # The softmax is looked through.
    assert nc_keras.measure(classifier.model_, x, y)["nc1"] > 0


def test_a_loss_by_its_registered_name():
    config = {"class_name": "nc_keras>CE", "config": {}}
    assert isinstance(keras.losses.get(config), nc_keras.losses.CE)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's format"
)
def test_a_fixed_head_is_exported_to_tensorflow(data, tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    model = network("etf")
    expected = model.predict(data[0][:5], verbose=0)
    model.export(tmp_path / "saved", verbose=False)
    served = tensorflow.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(data[0][:5]), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_fixed_head_is_exported_to_onnx(data, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = network("etf")
    expected = model.predict(data[0][:5], verbose=0)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: data[0][:5]})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="JAX is not exported"
)
def test_a_fixed_head_is_exported_to_litert(data, tmp_path):
    runtime = pytest.importorskip("ai_edge_litert.interpreter")
    model = network("etf")
    x = data[0][:1]
    expected = model.predict(x, verbose=0)
    path = str(tmp_path / "model.tflite")
    model.export(path, format="litert", verbose=False)
    interpreter = runtime.Interpreter(path)
    interpreter.allocate_tensors()
    (source,), (made,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(made["index"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_keras_hub_prepares_its_samples():
    hub = pytest.importorskip("keras_hub").models
    words = "good bad film play was not very".split()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = hub.BertTokenizer([*special, *words])
    backbone = hub.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    task = hub.BertTextClassifier(
        backbone,
        num_classes=2,
        preprocessor=hub.BertTextClassifierPreprocessor(tokenizer, 8),
    )
    texts = np.array(
        ["good film", "very good play", "bad film", "play was not good"]
    )
    y = np.array([1, 1, 0, 0])
    prepared, _ = task.preprocessor(texts, y)
    task.preprocessor, preprocessor = None, task.preprocessor
    expected = nc_keras.measure(task, prepared, y)["nc1"]
    task.preprocessor = preprocessor
    found = nc_keras.measure(task, texts, y)["nc1"]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_mlflow_sees_the_values_by_itself(data, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}")
    mlflow.set_experiment("autolog")
    mlflow.keras.autolog(log_models=False)
    callbacks = [nc_keras.callbacks.NeuralCollapse(*data)]
    try:
        with mlflow.start_run() as run:
            model = network()
            history = model.fit(*data, callbacks=callbacks, verbose=0).history
    finally:
        mlflow.keras.autolog(disable=True)
    logged = mlflow.get_run(run.info.run_id).data.metrics
    assert logged["nc1"] == pytest.approx(history["nc1"][-1])


@pytest.mark.filterwarnings("ignore")
def test_mlflow_logs_the_values(data, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}")
    mlflow.set_experiment("collapse")
    callbacks = [
        nc_keras.callbacks.NeuralCollapse(*data),
        mlflow.keras.MlflowCallback(),
    ]
    with mlflow.start_run() as run:
        history = network().fit(*data, callbacks=callbacks, verbose=0).history
    logged = mlflow.get_run(run.info.run_id).data.metrics
    assert logged["nc1"] == pytest.approx(history["nc1"][-1])


@pytest.mark.filterwarnings("ignore")
def test_wandb_logs_the_values(data, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    logger = importlib.import_module("wandb.integration.keras")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = wandb.init(project="collapse", dir=tmp_path)
    callbacks = [
        nc_keras.callbacks.NeuralCollapse(*data),
        logger.WandbMetricsLogger(),
    ]
    history = network().fit(*data, callbacks=callbacks, verbose=0).history
    summary = dict(run.summary)
    run.finish()
    assert summary["epoch/nc1"] == pytest.approx(history["nc1"][-1])
