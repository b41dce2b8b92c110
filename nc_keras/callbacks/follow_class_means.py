from typing import Any

import keras

from nc_keras.callbacks.step_features import StepFeatures
from nc_keras.graph import all_layers
from nc_keras.graph import resolve_layer
from nc_keras.layers.nearest_etf_classifier import NearestETFClassifier


class FollowClassMeans(keras.callbacks.Callback):
    """Lets a `NearestETFClassifier` follow the class means of the training.

    Each training step hands features and labels to the layer, on the device
    and without another forward pass. What the layer has learned is in its
    weights, so a checkpoint of the model is all that a resumed training
    needs.

    Args:
        head: The layer or its name, where a model has several; or `None` to
            find it.

    Raises:
        ValueError: In training, if the model has no such layer, or several.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> head = nc_keras.layers.NearestETFClassifier(3)
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,), head=head)
    >>> model.compile("sgd", loss=nc_keras.losses.CE())
    >>> follow = nc_keras.callbacks.FollowClassMeans()
    >>> history = model.fit(x, y, epochs=2, callbacks=[follow], verbose=0)
    >>> print(keras.ops.convert_to_numpy(head.seen))
    [1. 1. 1.]

    Reference:

    - [Markou et al., 2024](https://arxiv.org/abs/2411.01248).
    """

    def __init__(self, head: Any = None):
        super().__init__()
        self.head = head
        self._steps = StepFeatures("FollowClassMeans")

    def set_model(self, model: Any) -> None:
        self._steps.detach()
        super().set_model(model)
        layers = all_layers(model)
        if self.head is not None:
            layers = [resolve_layer(model, self.head, "head")]
        heads = [one for one in layers if isinstance(one, NearestETFClassifier)]
        if len(heads) != 1:
            raise ValueError(
                "`FollowClassMeans` is for a model with one "
                f"`NearestETFClassifier`. Received: model {model.name!r} with "
                f"{len(heads)}."
            )
        (head,) = heads

        def follow(labels, features, weights):
            head.follow(features, labels, weights)

        self._steps.attach(model, head, follow)

    def on_train_end(self, logs=None):
        self._steps.detach()
