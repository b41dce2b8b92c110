"""Average gradient outer products, beside the weights of each layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.kernel.examples import batches
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.network import Network
from nc_keras.kernel.network import network_of
from nc_keras.kernel.units import names_of


@dataclasses.dataclass(frozen=True)
class FeatureMatrices:
    """What a layer's weights make of its inputs, and what the outputs need.

    A convolution has the inputs of one position. Layers in `G` groups have
    matrices for each; others have one, `G = 1`.

    Example:

    >>> kernel = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    >>> found = nc_keras.kernel.FeatureMatrices(kernel, np.eye(2)[None])
    >>> found.agop[0].diagonal().tolist()
    [1.0, 4.0]
    >>> print(f"{found.correlation(power=1.0):.3f}")
    1.000

    Args:
        kernel: Array of shape `(G, F, O)`, the weights.
        backward: Array of shape `(G, O, O)`, the mean over examples of
            `sum_c g g'`, `g` the gradient of output `c` with respect to what
            the layer makes, at each position.
    """

    kernel: np.ndarray
    backward: np.ndarray

    @property
    def nfm(self) -> np.ndarray:
        """The neural feature matrix `W W'`, shape `(G, F, F)`."""
        return self.kernel @ np.swapaxes(self.kernel, 1, 2)

    @property
    def agop(self) -> np.ndarray:
        """The average gradient outer product by inputs, `(G, F, F)`."""
        kernel = self.kernel
        return kernel @ self.backward @ np.swapaxes(kernel, 1, 2)

    def correlation(self, power: float = 0.5) -> float:
        """The cosine of `nfm` and `agop ** power`, from 0 to 1.

        Args:
            power: Positive float. The ansatz of deep neural features has 1/2.

        Returns:
            Float; NaN where one of the two is zero.
        """
        if not power > 0:
            raise ValueError(
                f"`power` must be positive. Received: power={power}."
            )
        values, vectors = np.linalg.eigh(self.backward)
        roots = np.sqrt(np.maximum(values, 0))[:, None]
        # The same eigenvectors as a matrix of inputs by inputs, and smaller.
        u, s, _ = np.linalg.svd(
            self.kernel @ (vectors * roots), full_matrices=False
        )
        powers = s ** (2 * power)
        across = np.sum((np.swapaxes(u, 1, 2) @ self.kernel) ** 2, axis=2)
        gram = np.swapaxes(self.kernel, 1, 2) @ self.kernel
        norms = np.linalg.norm(gram) * np.linalg.norm(powers)
        return float(np.sum(powers * across) / norms) if norms else np.nan


@checked(batch_size="integer")
def agop(
    model: keras.Model | Network, x: Any, batch_size: int = 64
) -> dict[str, FeatureMatrices]:
    """Average gradient outer products and feature matrices of each layer.

    Where features are learned, the Gram matrix of a layer's weights becomes
    like a power of the average outer product of the outputs' gradients with
    respect to its inputs: both then keep the same directions of the inputs,
    and drop the rest, of which within-class collapse comes. All layers are
    had in one backward pass per output.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.agop(model, x)
    >>> [one.agop.shape for one in found.values()]
    [(1, 4, 4), (1, 8, 8)]
    >>> 0 < found["head"].correlation() <= 1
    True

    Args:
        model: A built `keras.Model` whose output is a vector, or its
            `nc_keras.kernel.Network`. Gradients are those of the logits.
        x: Array (or structure of arrays) of `N >= 2` examples.
        batch_size: Integer, the examples of one pass.

    Returns:
        Dictionary from the names of trained dense layers and convolutions to
        their `FeatureMatrices`, float64, in the order of the model; of two
        layers of one name, the second has a number. Frozen layers and layers
        that are called twice are left out.

    Raises:
        ValueError: As in `gram`.

    Reference:

    - [Beaglehole et al., 2024](https://arxiv.org/abs/2402.13728).
    """
    x = examples_of(x)
    network = network_of(model, x, batch_size)
    values, count = network.read(), 0
    sums: list = [0.0] * len(network.linear_units)
    for batch, length in batches(x, network.batch_size):
        weights = np.zeros(network.batch_size, network.dtype)
        weights[:length] = 1
        found = network.second_moments(values, batch, weights)
        sums = [
            total + ops.convert_to_numpy(one).astype("float64")
            for total, one in zip(sums, found, strict=True)
        ]
        count += length
    names = dict(zip(network.units, names_of(network.units), strict=True))
    return {
        names[unit]: FeatureMatrices(
            _kernel(unit.layer, *moment.shape[:2]), moment / count
        )
        for unit, moment in zip(network.linear_units, sums, strict=True)
    }


def _kernel(layer, groups, units):
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    return np.moveaxis(kernel.reshape(-1, groups, units), 1, 0)
