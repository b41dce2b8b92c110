import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.callbacks.positional import formerly_positional
from nc_keras.errors import NonFiniteError
from nc_keras.graph import all_layers
from nc_keras.layers.rho import Rho
from nc_keras.measuring.extractor import FeatureExtractor
from nc_keras.metrics.mse_decomposition import equivalent_decay
from nc_keras.metrics.mse_decomposition import is_squared_error
from nc_keras.theory import square_loss
from nc_keras.weights import homogeneous_weights
from nc_keras.weights import rho


class NormalizedMargins(EpochObserver):
    """Rho, normalised margins, and how far training is from rest.

    Puts into the `logs` of each measured epoch:

    * `rho`, the product of the norms of all layers, see
      `nc_keras.weights.rho`;
    * `margin_mean`, `margin_min` and `margin_std` of the normalised margins
      `(g_y - max_{j != y} g_j) / rho`;
    * with the square loss `rho_equilibrium`, at which `rho` would rest with
      the directions of the weights as they are: under the penalty
      `lambda rho^2` of a `nc_keras.models.Normalized` network, of any other
      as if nothing decayed;
    * with the square loss and plain weight decay of every layer
      `stationarity`, which is zero at every stationary point, see
      `nc_keras.theory.square_loss.stationarity`.

    In TensorBoard the margins are a histogram, and the norm of each layer is
    drawn.

    Args:
        x: The training data, as in `nc_keras.measure`.
        y: The training labels, or `None` if `x` is a dataset.
        log_dir: Directory of the TensorBoard run of the training, or `None`.
            The curves are in its folder `margins`.
        epochs: As in `nc_keras.callbacks.NeuralCollapse`.
        batch_norm: Boolean, whether the network has BatchNormalization, and
            `rho` is that of the authors' code with it.
        batch_size: Integer; by default one that suits the model.

    Raises:
        ValueError: In training, if the network is not homogeneous in the
            weights of each layer, naming the layer.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.HomogeneousNet((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.MSE())
    >>> margins = nc_keras.callbacks.NormalizedMargins(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[margins], verbose=0)
    >>> len(history.history["margin_min"]), len(history.history["rho"])
    (2, 2)

    Reference:

    - [Xu et al., 2023](https://doi.org/10.34133/research.0024), as in the
      authors' code, `train_binary.py` of
      GraceXu182/binaryclassifiers_squareloss.
    """

    run = "margins"
    panels = {
        "Square loss: rho and normalised margins": {
            "rho, and where it would rest": ["^rho"],
            "normalised margins": ["^margin_"],
            "distance to a stationary point": ["^stationarity$"],
            "norm of each layer": ["^norm/"],
        }
    }

    @formerly_positional("log_dir", "epochs", "batch_norm", "batch_size")
    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        batch_norm: bool = False,
        batch_size: int | None = None,
    ):
        super().__init__(epochs, log_dir)
        self.x = x
        self.y = y
        self.batch_norm = batch_norm
        self.batch_size = batch_size
        self._extractor = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        # What is wrong with the model is better known now than after an epoch.
        if self.model.built:
            homogeneous_weights(self.model, self.batch_norm)

    def observe(self, epoch: int) -> dict[str, float]:
        weights = homogeneous_weights(self.model, self.batch_norm)
        product = rho(self.model, self.batch_norm)
        if not product > 0:
            raise NonFiniteError("The weights of a layer have become zero.")
        outputs, targets = self._outputs()
        margins = square_loss.normalized_margins(outputs, targets, product)
        values = {
            "rho": product,
            "margin_mean": float(margins.mean()),
            "margin_min": float(margins.min()),
            "margin_std": float(margins.std()),
        }
        if is_squared_error(self.model.loss):
            values |= self._square_loss(weights, product, outputs, targets)
        norms = {f"norm/{one.name}": one.norm for one in weights}
        self.scalars(epoch, values | norms)
        self.histogram(epoch, "margins", margins)
        return values

    def _outputs(self):
        if self._extractor is None or self._extractor.model is not self.model:
            last = self.model.layers[-1]
            self._extractor = FeatureExtractor(self.model, features=last)
        outputs, labels = self._extractor(self.x, self.y, self.batch_size)
        outputs = outputs.astype("float64")
        if not np.isfinite(outputs).all():
            raise NonFiniteError("The outputs hold NaN or infinity.")
        return outputs, square_loss.one_hot(labels, outputs.shape[1])

    def _square_loss(self, weights, product, outputs, targets):
        layers = all_layers(self.model)
        factors = [layer for layer in layers if isinstance(layer, Rho)]
        # The penalty beside the sum over classes, `lambda` of the theory.
        reduction = getattr(self.model.loss, "class_reduction", "mean")
        classes = 1 if reduction == "sum" else outputs.shape[1]
        decay = sum(layer.decay for layer in factors) * classes
        if factors:
            decay += equivalent_decay(self.model) or 0.0
        found = {
            "rho_equilibrium": square_loss.equilibrium_rho(
                outputs / product, targets, decay
            )
        }
        plain = None if factors or self.batch_norm else _decay(self.model)
        if plain:
            norms = [one.norm for one in weights]
            found["stationarity"] = float(
                square_loss.stationarity(norms, outputs, targets, plain)
            )
        return found


def _decay(model):
    """Of the penalty `lambda sum ||W||^2` beside the sum over classes."""
    if model.losses:
        return None
    return equivalent_decay(model)
