"""The empirical tangent kernel of a model, exactly."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from nc_keras.arguments import checked
from nc_keras.errors import NonFiniteError
from nc_keras.graph import resolve_layer
from nc_keras.kernel.examples import batches
from nc_keras.kernel.examples import examples_of
from nc_keras.kernel.network import Network
from nc_keras.kernel.network import network_of
from nc_keras.kernel.parts import joined
from nc_keras.kernel.units import names_of

_OUTPUTS = ("trace", "each", "full")
MEMORY = 2**31
# Numbers of the kernel that are computed at once: they stay in the cache.
_TILE = 2**19
# Where they would take more, the gradients are those of some outputs at a
# time: each time the forward pass is made again, which is a small part.
_ENOUGH = 2**26


@dataclasses.dataclass(frozen=True, eq=False)
class Gram:
    """A tangent kernel; `np.asarray` of it is `values`.

    Args:
        values: Array, float64: the kernel, in the shape that `outputs` says.
        outputs: String, as in `gram`.
        num_outputs: Integer, `C`.
        by_layer: Dictionary from names of layers to their shares of the
            kernel, of the shape of `values`; empty unless it was asked for.
        how: Dictionary from names of layers to how their share was computed:
            `"outer products"` or `"per-example Jacobian"`.
    """

    values: np.ndarray
    outputs: str
    num_outputs: int
    by_layer: dict[str, np.ndarray]
    how: dict[str, str]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


@checked(batch_size="integer", memory="integer")
def gram(
    model: keras.Model | Network,
    x: Any,
    outputs: str = "trace",
    layers: Any = None,
    batch_size: int = 64,
    memory: int = MEMORY,
    training: bool = False,
) -> Gram:
    """Computes the tangent kernel of a network of finite width.

    With `J`, the derivatives of the logits of all examples by all trained
    weights, it is `J J'`. It is taken in inference mode, before a softmax or
    sigmoid at the end. Frozen weights, such as a fixed head, add nothing to
    it, and pass on the gradients of what is below them.

    Example:

    >>> model = nc_keras.models.MLP((4,), 3, widths=(8,))
    >>> x = np.random.default_rng(0).normal(size=(6, 4))
    >>> found = nc_keras.kernel.gram(model, x)
    >>> found.values.shape
    (6, 6)
    >>> nc_keras.kernel.gram(model, x, outputs="full").values.shape
    (18, 18)
    >>> set(found.how.values())
    {'outer products'}

    Dense layers, convolutions, normalisations, embeddings and
    weight-normalised layers take products of what they get and what flows
    back to them, and no Jacobian. Other layers, and layers that are called
    twice, take the Jacobian of each example. The result says which was used.

    Args:
        model: A built `keras.Model` whose output is a vector, shape `(N, C)`;
            or its `nc_keras.kernel.Network`, compiled once for several calls.
        x: Array (or structure of arrays) of `N` examples.
        outputs: `"trace"` for the mean over the outputs, shape `(N, N)`;
            `"each"` for the kernel of each output, `(C, N, N)`; `"full"` for
            all pairs of outputs, `(N C, N C)`, with example `n` and output
            `c` in row `n C + c`.
        layers: Layers or their names, whose shares alone are computed; or
            `"all"`. They are in `by_layer`, and sum up to `values`. By
            default the whole model, without `by_layer`.
        batch_size: Integer, the examples of one pass through the model. The
            result does not depend on it.
        memory: Integer, how many bytes may be used. Where the gradients do
            not fit, they are computed again for each pair of blocks of
            examples.
        training: Boolean, `False` alone: in training mode a batch
            normalisation makes each output one of the whole batch.

    Returns:
        A `Gram`.

    Raises:
        ValueError: If the outputs are no vectors, nothing is trained, there
            are fewer than two examples, or the result does not fit.

    Reference:

    - [Jacot et al., 2018](https://arxiv.org/abs/1806.07572).
    - [Kopitkov & Indelman, 2019](https://arxiv.org/abs/1910.08720), the
      Gram matrix of section 3, of one output.
    """
    if training:
        raise ValueError(
            "The tangent kernel is that of inference mode. In training mode "
            "a batch normalisation lets the output of an example depend on "
            "the others of its batch, and the kernel on the batches. "
            f"Received: {training=}."
        )
    x = examples_of(x)
    network = network_of(model, x, batch_size)
    return gram_of(network, x, outputs, layers, memory)


def gram_of(
    network: Network,
    x: Any,
    outputs: str = "trace",
    layers: Any = None,
    memory: int = MEMORY,
) -> Gram:
    """The same of a network that was looked at before.

    Args:
        network: A `Network`.
        x: As `examples_of` returns it; for the other arguments see `gram`.
        outputs: String.
        layers: Layers, names, `"all"` or `None`.
        memory: Integer.
    """
    if outputs not in _OUTPUTS:
        raise ValueError(
            f"`outputs` must be one of {_OUTPUTS}. Received: {outputs=}."
        )
    names = names_of(network.units)
    chosen = _chosen(network, layers, names)
    count = len(keras.tree.flatten(x)[0])
    # The kernel, what is added to it, and those of layers.
    copies = 2 + (0 if layers is None else len(chosen))
    _refuse_large(count, network.num_outputs, outputs, memory, copies)
    shares = _Shares(network, x, outputs, chosen, memory)
    total, by_unit = shares.summed(layers is not None)
    if not np.isfinite(total).all():
        raise NonFiniteError(
            "The tangent kernel is not finite: weights, inputs or gradients "
            f"of model {network.model.name!r} hold a NaN or an infinity."
        )
    return Gram(
        values=_flat(total, outputs),
        outputs=outputs,
        num_outputs=network.num_outputs,
        by_layer={names[i]: _flat(one, outputs) for i, one in by_unit.items()},
        how={names[i]: network.units[i].how for i in chosen},
    )


class _Shares:
    """The kernels of units, from blocks of examples."""

    def __init__(self, network, x, outputs, chosen, memory):
        self.network = network
        self.x = x
        self.outputs = outputs
        self.chosen = chosen
        self.count = len(keras.tree.flatten(x)[0])
        self.values = network.read()
        # A fourth is for the gradients, and one for what their products make
        # on the way.
        self.room = max(1, memory // 32)
        sizes = [network.units[i].sizes for i in chosen]
        self.fixed, self.each = map(sum, zip(*sizes, strict=True))
        self.width = 8 if network.dtype == "float64" else 4
        self.at_once = self._outputs_at_once(memory // 4)
        of_pair = math.prod(self._shape(1, 1, self.at_once))
        if outputs == "trace":  # The mean is over products of each output.
            of_pair = self.at_once
        self.tile = max(1, math.isqrt(min(_TILE, self.room) // of_pair))
        fitting = max(1, memory // (4 * self._bytes(1, self.at_once)))
        # Of several blocks, two are there at once.
        self.block = self.count
        if self.count > fitting:
            self.block = max(1, fitting // 2)

    def _bytes(self, examples, outputs):
        """What the gradients take."""
        of_one = self.fixed + outputs * self.each
        return max(1, self.width * examples * of_one)

    def _outputs_at_once(self, most):
        """Of how many outputs the gradients are kept together."""
        total = self.network.num_outputs
        if self.outputs == "full":  # It has the products of any two.
            return total
        enough = min(most, _ENOUGH)
        for passes in range(1, total + 1):
            some = -(-total // passes)
            if self._bytes(self.count, some) <= enough:
                break
        return some

    def _mixtures(self):
        """Some outputs after the others, and the matrix that picks them.

        All are as wide, so that one shape is compiled: the last may have
        columns of zeros.
        """
        total = self.network.num_outputs
        for first in range(0, total, self.at_once):
            picked = np.zeros((total, self.at_once))
            some = range(first, min(first + self.at_once, total))
            picked[some, range(len(some))] = 1
            yield (
                slice(some.start, some.stop),
                ops.convert_to_tensor(picked, self.network.dtype),
            )

    def summed(self, by_unit: bool) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """The kernel of all units, and that of each, if it is asked for."""
        shape = self._shape(self.count, self.count)
        total = np.zeros(shape)
        shares = {i: np.zeros(shape) for i in self.chosen if by_unit}
        for outputs, mixed in self._mixtures():
            of_some = outputs if self.outputs == "each" else slice(None)
            self._add(
                mixed,
                total[of_some],
                {i: share[of_some] for i, share in shares.items()},
            )
        return total, shares

    def _add(self, mixed, total, shares):
        """Adds the products of the gradients of some outputs."""
        for first in range(0, self.count, self.block):
            rows = slice(first, min(first + self.block, self.count))
            parts = self._parts(rows, mixed)
            for second in range(0, first + 1, self.block):
                columns = slice(second, min(second + self.block, self.count))
                others = parts
                if first != second:
                    others = self._parts(columns, mixed)
                for one, other in _pairs(rows, columns, self.tile):
                    found = self._shares(
                        _some(parts, one, first), _some(others, other, second)
                    )
                    self._write(total, one, other, sum(found))
                    for i, share in zip(shares, found, strict=False):
                        self._write(shares[i], one, other, share)

    def _shares(self, parts, others):
        """The share of each unit in one tile of the kernel."""
        per = self.network.num_outputs if self.outputs == "trace" else 1
        found = []
        for i in self.chosen:
            both = zip(parts[i], others[i], strict=True)
            share = sum(
                part.times(other, self.outputs, self.room)
                for part, other in both
            )
            found.append(share / per)
        return found

    def _write(self, total, one, other, share):
        """Adds the share of a tile, and its mirror image."""
        rows, columns = one.new, other.new
        share = share[: len(total)] if self.outputs == "each" else share
        if one == other:  # But for rounding it is symmetric.
            share = (share + _transposed(share)) / 2
        if self.outputs == "full":
            share = share[one.cut :, :, other.cut :]
            total[rows, :, columns] += share
            if one != other:
                total[columns, :, rows] += _transposed(share)
            return
        share = share[..., one.cut :, other.cut :]
        total[..., rows, columns] += share
        if one != other:
            total[..., columns, rows] += _transposed(share)

    def _parts(self, examples, mixed):
        """The parts of each unit, for some of the examples."""
        found = collections.defaultdict(list)
        x = keras.tree.map_structure(lambda a: a[examples], self.x)
        for batch, length in batches(x, self.network.batch_size):
            parts = self.network.parts(self.values, batch, mixed)
            for i in self.chosen:
                found[i].append([part.some(0, length) for part in parts[i]])
        return {
            i: [joined(several) for several in zip(*found.pop(i), strict=True)]
            for i in self.chosen
        }

    def _shape(self, rows, columns, outputs=None):
        c = outputs or self.network.num_outputs
        return {
            "trace": (rows, columns),
            "each": (c, rows, columns),
            "full": (rows, c, columns, c),
        }[self.outputs]


@dataclasses.dataclass(frozen=True)
class _Tile:
    """Some examples, the first of which may be in the tile before."""

    start: int
    stop: int
    cut: int

    @property
    def new(self) -> slice:
        return slice(self.start + self.cut, self.stop)


def _pairs(rows, columns, size):
    """Tiles of a block of the kernel, on and below the diagonal."""
    for one in _tiles(rows, size):
        for other in _tiles(columns, size):
            if other.start <= one.start:
                yield one, other


def _tiles(examples, size):
    """Equal parts of a range, compiled for once: the last one overlaps."""
    size = min(size, examples.stop - examples.start)
    for first in range(examples.start, examples.stop, size):
        start = min(first, examples.stop - size)
        yield _Tile(start, start + size, first - start)


def _some(parts, examples, first):
    start, length = examples.start - first, examples.stop - examples.start
    return {
        i: [part.some(start, length) for part in several]
        for i, several in parts.items()
    }


def _transposed(share):
    if share.ndim == 4:
        return share.transpose(2, 3, 0, 1)
    return share.swapaxes(-1, -2)


def _flat(share, outputs):
    if outputs != "full":
        return share
    size = math.prod(share.shape[:2])
    return share.reshape(size, size)


def _chosen(network, layers, names):
    """The indices of the units of some layers."""
    if layers is None or (isinstance(layers, str) and layers == "all"):
        return list(range(len(names)))
    if isinstance(layers, str | keras.Layer):
        layers = [layers]
    chosen = []
    for one in layers:
        layer = resolve_layer(network.model, one, "layers")
        found = [i for i, u in enumerate(network.units) if u.layer is layer]
        if not found:
            raise ValueError(
                "A layer without trained weights of its own has no share of "
                f"the tangent kernel. Received: layers={layers}, of which "
                f"{layer.name!r} is none of {names}."
            )
        chosen += found
    return list(dict.fromkeys(chosen))


def _refuse_large(count, num_outputs, outputs, memory, copies):
    per_pair = {"trace": 1, "each": num_outputs, "full": num_outputs**2}
    per_pair = 8 * copies * per_pair[outputs]
    if count**2 * per_pair > memory:
        fits = math.isqrt(memory // per_pair)
        raise ValueError(
            f"The kernel of {count:,} examples needs {count**2 * per_pair:,} "
            f"bytes; {memory=:,} is enough for {fits:,} examples. Pass fewer "
            'of them, raise `memory`, take `outputs="trace"`, or '
            "`nc_keras.kernel.top`, which forms no kernel. "
            f"Received: {outputs=}, {num_outputs} outputs."
        )
