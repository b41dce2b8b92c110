import contextlib
import math
import os
from collections.abc import Iterable

import numpy as np
from keras import ops

from nc_keras.blas import one_thread
from nc_keras.callbacks.epoch_observer import EpochObserver
from nc_keras.metrics.ranks import ranks
from nc_keras.optimizers.sgd import SGD
from nc_keras.theory import low_rank
from nc_keras.weights import Weights
from nc_keras.weights import weights_of


class WeightSpectrum(EpochObserver):
    """Ranks and norms of all weights, and how much an epoch changes them.

    Puts into the `logs` of each measured epoch, as means over all layers with
    a trainable kernel:

    * `rank`, `stable_rank` and `effective_rank`, see
      `nc_keras.weights.ranks`;
    * `weight_change`, `||W - W'|| / ||W'||` with the weights `W'` before the
      epoch: the noise of SGD, which in a network that has converged vanishes
      for full batches, and stays with mini-batches and decay;
    * `rank_bound`, if `batch_size` is given and the optimizer is
      `nc_keras.optimizers.SGD` with weight decay:
      `nc_keras.theory.low_rank.rank_bound`, at most the rank that a matrix of
      that shape can have, of layers of which the number of positions is
      known. Where the two are equal the bound says nothing.

    In TensorBoard the same is drawn layer by layer, with the singular values
    of each layer as histograms.

    Args:
        log_dir: Directory of the TensorBoard run of the training, or `None`.
            The curves are in its folder `weights`.
        epochs: As in `nc_keras.callbacks.NeuralCollapse`.
        tolerance: Float in `[0, 1)`, as in `nc_keras.weights.ranks`.
        batch_size: Integer, that of the training, or `None`.

    Raises:
        ValueError: If an argument is out of its range, or, in training, if
            the model has neither a dense layer nor a convolution.

    Example:

    >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> model.compile("sgd", loss=nc_keras.losses.MSE())
    >>> spectrum = nc_keras.callbacks.WeightSpectrum()
    >>> history = model.fit(x, y, epochs=2, callbacks=[spectrum], verbose=0)
    >>> history.history["rank"]
    [3.5, 3.5]

    Reference:

    - [Galanti et al., 2022](https://arxiv.org/abs/2206.05794): ranks, and
      the change of the weights between epochs, as in the authors' code
      (TomerGalanti/LowRankBias).
    """

    run = "weights"
    panels = {
        "Weights: rank, size and noise": {
            "numerical rank": ["^rank/", "^rank$"],
            "stable rank": ["^stable_rank/"],
            "effective rank": ["^effective_rank/"],
            "Frobenius norm": ["^norm/"],
            "relative change in an epoch": ["^change/", "^weight_change$"],
            "rank that the theory allows": ["^rank_bound"],
        }
    }

    def __init__(
        self,
        log_dir: str | os.PathLike | None = None,
        epochs: int | str | Iterable[int] = 1,
        tolerance: float = 1e-3,
        batch_size: int | None = None,
    ):
        super().__init__(epochs, log_dir)
        ranks(np.eye(1), tolerance)
        if batch_size is not None and batch_size < 1:
            raise ValueError(
                "`batch_size` must be positive, or `None`. "
                f"Received: batch_size={batch_size}."
            )
        self.tolerance = tolerance
        self.batch_size = batch_size
        self._before: dict[str, np.ndarray] = {}

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self.is_measured(epoch + 1) and self.model.built:
            self._before = {w.name: w.kernel for w in _trained(self.model)}

    def observe(self, epoch: int) -> dict[str, float]:
        with one_thread():
            layers = {w.name: self._layer(w) for w in _trained(self.model)}
        per_layer, spectra = {}, {}
        for name, (values, spectrum) in layers.items():
            per_layer[name] = values
            spectra[name] = spectrum
        self.scalars(
            epoch,
            {
                f"{key}/{name}": value
                for name, values in per_layer.items()
                for key, value in values.items()
            },
        )
        for name, spectrum in spectra.items():
            self.histogram(epoch, f"singular_values/{name}", spectrum)
        means = {}
        for key, log in _LOGS.items():
            found = [v[key] for v in per_layer.values() if key in v]
            if found:
                means[log] = float(np.mean(found))
        self.scalars(epoch, means)
        self._before = {}
        return means

    def _layer(self, weights: Weights):
        """Values of one layer, and its singular values."""
        matrix = weights.matrix
        spectrum = np.linalg.svd(matrix, compute_uv=False)
        found = ranks(spectrum, self.tolerance)
        values = {
            "rank": found.numerical,
            "stable_rank": found.stable,
            "effective_rank": found.effective,
            "norm": weights.norm,
        }
        before = self._before.get(weights.name)
        if before is not None and before.any():
            change = np.linalg.norm(weights.kernel - before)
            values["change"] = float(change / np.linalg.norm(before))
        bound = self._bound(weights)
        if bound is not None:
            values["rank_bound"] = min(bound, *matrix.shape)
        return values, spectrum

    def _bound(self, weights):
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        # Of other optimizers the update is not the one of the theory.
        if self.batch_size is None or not isinstance(optimizer, SGD):
            return None
        positions = _positions(weights.layer)
        if not optimizer.weight_decay or positions is None:
            return None
        rate = float(ops.convert_to_numpy(optimizer.learning_rate))
        numbers = rate, optimizer.weight_decay, self.tolerance
        with contextlib.suppress(ValueError):  # a decay beyond stability
            return low_rank.rank_bound(
                self.batch_size, *numbers, optimizer.momentum, positions
            )


def _positions(layer):
    """At how many positions the weights of a layer are applied, if known."""
    try:
        shape = layer.output.shape
    except AttributeError:  # of a layer inside of another, or called twice
        return None
    first = getattr(layer, "data_format", None) == "channels_first"
    inner = shape[2:] if first else shape[1:-1]
    return None if None in inner else math.prod(inner)


# The tags of a layer, and what logs call their means.
_LOGS = {
    "rank": "rank",
    "stable_rank": "stable_rank",
    "effective_rank": "effective_rank",
    "change": "weight_change",
    "rank_bound": "rank_bound",
}


def _trained(model):
    """The weights that training changes: not those of a fixed head."""
    return [
        one
        for one in weights_of(model)
        if any(len(w.shape) > 1 for w in one.layer.trainable_weights)
    ]
