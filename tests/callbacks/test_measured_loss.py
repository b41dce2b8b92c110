"""The loss that `NeuralCollapse` measures in its own pass."""

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras.callbacks import NCTensorBoard
from nc_keras.callbacks import NeuralCollapse
from nc_keras.measuring.loss import MeanLoss
from nc_keras.measuring.options import Plan
from tests.helpers import events_of

L = keras.layers


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype("float32")
    return x, np.arange(count) % 3


def network(loss, kernel=None, activity=None):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(
                8,
                "relu",
                kernel_regularizer=kernel,
                activity_regularizer=activity,
            ),
            L.BatchNormalization(),
            L.Dropout(0.5),
            L.Dense(6, activity_regularizer=activity),
            L.Dense(3),
        ]
    )
    model.compile("sgd", loss=loss)
    return model


class Evaluated(keras.callbacks.Callback):
    """What Keras' own evaluation says at the end of each epoch."""

    def __init__(self, *data, **options):
        super().__init__()
        self.data, self.options, self.losses = data, options, []

    def on_epoch_end(self, epoch, logs=None):
        loss = self.model.evaluate(*self.data, verbose=0, **self.options)
        self.losses.append(loss)


def assert_as_keras(model, train, test, **options):
    """Compares with evaluations; the last batch is not a whole one."""
    weights = test[2] if len(test) > 2 else None
    of_train = Evaluated(*train, batch_size=16)
    of_test = Evaluated(*test[:2], sample_weight=weights, batch_size=16)
    collapse = NeuralCollapse(*train, test, loss=True, batch_size=16, **options)
    logs = model.fit(
        *train, epochs=2, callbacks=[collapse, of_train, of_test], verbose=0
    ).history
    for key, evaluated in (("nc_loss", of_train), ("val_nc_loss", of_test)):
        np.testing.assert_allclose(logs[key], evaluated.losses, rtol=1e-6)


@pytest.mark.parametrize(
    "loss, kernel, activity",
    [
        (nc_keras.losses.CE(), None, None),
        (nc_keras.losses.MSE(), "l2", None),
        ("sparse_categorical_crossentropy", None, "l1"),
    ],
)
def test_it_is_what_keras_evaluates(loss, kernel, activity):
    model = network(loss, kernel, activity)
    if isinstance(loss, str):
        model.add(L.Softmax())
        model.compile("sgd", loss=loss)
    assert_as_keras(model, drawn(70), drawn(37, 1))


def test_weights_count_as_in_keras():
    weights = np.tile([0.0, 0.5, 1.0, 2.0], 10)[:37]
    model = network(nc_keras.losses.CE())
    assert_as_keras(model, drawn(70), (*drawn(37, 1), weights))


def test_a_second_pass_changes_nothing():
    model = network(nc_keras.losses.CE())
    assert_as_keras(model, drawn(70), drawn(37, 1), memory=0)


def test_it_is_beside_what_watches_the_steps():
    x, y = drawn(70)
    model = network(nc_keras.losses.CE())
    evaluated = nc_keras.callbacks.EvaluatedCollapse()
    running = nc_keras.callbacks.RunningCollapse()
    collapse = NeuralCollapse(x, y, (x, y), loss=True)
    logs = model.fit(
        *(x, y),
        epochs=3,
        validation_data=(x, y),
        callbacks=[running, evaluated, collapse],
        verbose=0,
    ).history
    np.testing.assert_allclose(logs["nc_loss"], logs["val_loss"], rtol=1e-5)
    np.testing.assert_allclose(logs["nc1"], logs["val_nc1"], rtol=1e-5)


def test_it_changes_no_training():
    trained = []
    for loss in (False, True):
        keras.utils.set_random_seed(0)
        model = network(nc_keras.losses.CE(), "l2", "l1")
        collapse = NeuralCollapse(*drawn(70), loss=loss)
        model.fit(*drawn(70), epochs=2, callbacks=[collapse], verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_tensorboard_draws_it_where_fit_does_not_validate(tmp_path):
    model = network(nc_keras.losses.CE())
    panels = NCTensorBoard(tmp_path, *drawn(70), drawn(37, 1), loss=True)
    logs = model.fit(
        *drawn(70), epochs=2, callbacks=[panels], verbose=0
    ).history
    for run, key in (("nc_train", "loss"), ("nc_validation", "val_nc_loss")):
        events = events_of(tmp_path / run).Tensors("loss")
        drawn_losses = [event.tensor_proto.float_val[0] for event in events]
        np.testing.assert_allclose(drawn_losses, logs[key], rtol=1e-6)


def test_a_model_that_is_compiled_anew_has_its_new_loss():
    x, y = drawn(70)
    model = network(nc_keras.losses.CE())
    collapse = NeuralCollapse(x, y, loss=True, batch_size=16)
    for loss in (nc_keras.losses.CE(), nc_keras.losses.MSE()):
        model.compile(keras.optimizers.SGD(0.0), loss=loss)
        logs = model.fit(x, y, callbacks=[collapse], verbose=0).history
        expected = model.evaluate(x, y, batch_size=16, verbose=0)
        np.testing.assert_allclose(logs["nc_loss"], expected, rtol=1e-6)


def test_processes_may_make_one_pass_or_two():
    x, y = drawn(70)
    model = network(nc_keras.losses.CE())
    sums = []
    for memory in (0, 10**6):  # Two shares: in the second nothing is repeated.
        plan, found = Plan(memory=memory), MeanLoss(model)
        extractor = plan.extractor(model)
        plan.measured(extractor, plan.source(extractor, x, y, loss=found))
        sums.append(found.result(lambda array: [array, [0.0, 1.0]]))
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-12)


class Older(keras.Model):
    """Of a time when `compute_loss` was not told of training."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 2 * super().compute_loss(x, y, y_pred, sample_weight)


class Several(keras.Model):
    """Its outputs are not known before it is called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = L.Dense(3), L.Dense(3)

    def call(self, inputs):
        return self.first(inputs), self.second(inputs)


def test_a_loss_of_the_models_own():
    inputs = keras.Input((6,))
    model = Older(inputs, L.Dense(3)(inputs))
    model.compile("sgd", loss=nc_keras.losses.CE())
    assert_as_keras(model, drawn(70), drawn(37, 1))


def test_what_has_no_such_loss_says_so():
    x, y = drawn(70)
    inputs = keras.Input((6,))
    heads = [L.Dense(3, name=name)(inputs) for name in ("first", "second")]
    several = keras.Model(inputs, dict(zip("ab", heads, strict=True)))
    several.compile("sgd", loss=dict.fromkeys("ab", nc_keras.losses.CE()))
    collapse = NeuralCollapse(x, y, loss=True, head="first")
    with pytest.raises(ValueError, match="one output.*Received: 2 outputs"):
        several.fit(x, {"a": y, "b": y}, callbacks=[collapse], verbose=0)
    several = Several()
    several(x[:2])
    several.compile("sgd", loss=[nc_keras.losses.CE()] * 2)
    collapse = NeuralCollapse(x, y, loss=True, head=several.first)
    with pytest.raises(ValueError, match="one output.*Received: 2 outputs"):
        several.fit(x, (y, y), callbacks=[collapse], verbose=0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(3)])
    model.compile("sgd")
    with pytest.raises(ValueError, match="compiled with one"):
        MeanLoss(model)
    model = network(nc_keras.losses.CE())
    body = keras.Model(model.inputs[0], model.layers[-2].output)
    collapse = NeuralCollapse(x, y, loss=True, features=lambda x: body(x))
    with pytest.raises(ValueError, match="Received: a function"):
        model.fit(x, y, callbacks=[collapse], verbose=0)
