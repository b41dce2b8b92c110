"""Features and labels of each step of Keras, on the device, as it is made."""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from nc_keras.graph import one_more_metric
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.measuring.heads import loss_of_output
from nc_keras.recording import around
from nc_keras.recording import recording
from nc_keras.recording import the_one
from nc_keras.stateless import give_back_state


class StepFeatures:
    """Lets each step hand features and labels to a function.

    It becomes a part of the compiled step. What it assigns to variables of
    the model, or of its metrics, lasts. What it refuses ends the training or
    the evaluation and this, and the model keeps its weights.

    Args:
        name: String, what asks for them, for errors.
        training: Boolean; `False` for the steps of an evaluation.
    """

    def __init__(self, name: str, training: bool = True):
        self._name, self._training = name, training
        self._undo = contextlib.ExitStack()

    def attach(
        self,
        model: keras.Model,
        head: keras.Layer,
        function: Callable[[Any, Any, Any], None],
    ) -> None:
        """Begins with the next step.

        Args:
            model: The compiled model.
            head: The layer whose inputs are the features.
            function: Called with labels, features (without a gradient) and
                sample weights, or `None`. Examples whose label is the
                `ignore_class` of the loss have the weight zero.
        """
        self.detach()

        def update(features, labels, weights):
            self._refuse_several_outputs(labels)
            weights = _counted(model, head, labels, weights)
            function(labels, ops.stop_gradient(features), weights)

        enter = self._undo.enter_context
        enter(_each_step(model, head, update, self._training))
        enter(_guarded(model, _kind(self._training), self.detach))

    def attach_metric(
        self,
        model: keras.Model,
        head: Any,
        make: Callable[[int, int], keras.Metric],
    ) -> tuple[FeatureExtractor, Any]:
        """Begins to update a metric of `(labels, features, weights)`.

        Args:
            model: The compiled model.
            head: As in `nc_keras.measure`.
            make: Called with the numbers of classes and of dimensions.

        Returns:
            The extractor of the features, and the metric.
        """
        self.detach()
        extractor: Any = FeatureExtractor(model, head)
        dim, classes = extractor.kernel.shape
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy else contextlib.nullcontext():
            metric = make(classes, dim)
        extractor.refuse_unknown()
        self.attach(model, extractor.head, metric.update_state)
        self._undo.enter_context(one_more_metric(model, metric))
        return extractor, metric

    def detach(self) -> None:
        """Leaves the model as it was."""
        self._undo.close()

    def _refuse_several_outputs(self, labels):
        if isinstance(labels, dict | list | tuple):
            raise ValueError(
                f"`{self._name}` measures models with one output and its "
                "labels; for one output of several use `NeuralCollapse`. "
                f"Received: labels in a {type(labels).__name__} of "
                f"{len(labels)}."
            )


def _kind(training):
    return "train" if training else "test"


@contextlib.contextmanager
def _each_step(model, head, update, training) -> Iterator[None]:
    """Updates with the features and labels of each step."""

    def step(call, *args, **kwargs):
        return call(*args, **kwargs)

    def watch(call, *args, **kwargs):
        features.clear()  # those of a measurement, say
        outputs = call(*args, **kwargs)
        the_one(features, head.name)
        return outputs

    def before_loss(
        compute_loss, x=None, y=None, y_pred=None, sample_weight=None, **kwargs
    ):
        if kwargs.get("training", True) == training:
            update(features[0], y, sample_weight)
        features.clear()
        return compute_loss(x, y, y_pred, sample_weight, **kwargs)

    with (
        recording(head) as features,
        around(model, "call", watch),
        around(model, "compute_loss", before_loss),
        # Another function: of a method JAX has kept what it compiled before.
        around(model, f"{_kind(training)}_step", step),
    ):
        yield


@contextlib.contextmanager
def _guarded(model, kind, on_refusal) -> Iterator[None]:
    """Compiles the steps anew, and leaves the model whole if one refuses."""

    def make_guarded(make, *args, **kwargs):
        before = getattr(model, f"{kind}_function")
        made = make(*args, **kwargs)
        function = getattr(model, f"{kind}_function")
        if function is before:
            return made

        def guarded(*arguments):
            try:
                return function(*arguments)
            except ValueError:
                try:
                    give_back_state(model, *arguments)
                finally:
                    on_refusal()
                raise

        setattr(model, f"{kind}_function", guarded)
        return made

    # A function compiled before knows nothing of the new step.
    setattr(model, f"{kind}_function", None)
    try:
        with around(model, f"make_{kind}_function", make_guarded):
            yield
    finally:
        setattr(model, f"{kind}_function", None)


def _counted(model, head, labels, weights):
    """The weights of the examples, zero where the loss ignores a label."""
    loss = loss_of_output(model, head.name)
    ignored = getattr(loss, "ignore_class", None)
    if ignored is None:
        return weights
    labels = ops.convert_to_tensor(labels)
    counted = labels != ops.cast(ignored, labels.dtype)
    if weights is None:
        return counted
    weights = ops.convert_to_tensor(weights)
    counted = ops.reshape(counted, ops.shape(weights))
    return ops.cast(counted, weights.dtype) * weights
