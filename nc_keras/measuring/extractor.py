import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from nc_keras.measuring.batch_size import suitable_batch_size
from nc_keras.measuring.batches import NoExamplesError
from nc_keras.measuring.batches import batches_of
from nc_keras.measuring.forward import Forward
from nc_keras.measuring.forward import resolve_sources
from nc_keras.measuring.heads import Head
from nc_keras.measuring.heads import find_head_or_none
from nc_keras.measuring.loss import MeanLoss
from nc_keras.measuring.rows import counted_rows
from nc_keras.measuring.rows import rows_of

_POOLINGS = (None, "average", "flatten")


class FeatureExtractor:
    """Finds the head of a model, and the features that reach it.

    The features are the inputs of the head: the layer that makes the outputs
    of a `Functional` or `Sequential` model, looked for inside nested models
    too, with layers without weights (such as a softmax), or the factor
    `nc_keras.layers.Rho`, allowed after it.
    For any other model, say which layer it is.

    A head is any layer with a `kernel` of shape `(D, C)`, a convolution with
    a kernel of size 1, a `keras.layers.EinsumDense` or
    `keras.layers.TimeDistributed` that does the same, or an embedding that is
    called with `reverse=True` (the tied head of a language model); also
    inside `nc_keras.layers.WeightNormalization`. One output with a sigmoid,
    of a binary classifier, counts as the two it stands for: `sigmoid(z)` is
    the softmax of `(-z / 2, z / 2)`. What comes after a head that was found,
    and may compute other outputs (a `Lambda`, say), is checked on the first
    batch.

    Features of shape `(B, ..., D)` whose labels have the shape `(B, ...)` are
    those of tokens or pixels: each one counts as an example. With a single
    label an example, positions of number one are dropped, and more of them
    need `pooling`.

    Measuring changes nothing in the model: updates of its variables (of seeds
    that are drawn in inference mode, for example) are dropped. The compiled
    function that computes the features is built once, and used for every
    call.

    Args:
        model: A built `keras.Model`.
        head: Layer of the model, or its name, or `None` to find it.
        features: Which features are computed. `None` for the input of the
            head; a layer of the model or its name for the output of that
            layer; a function of the inputs, such as `model.call_features`,
            which uses the layers of the model; or a list of layers, for
            `layer_batches`. Unless `head` is given too, the head that is
            found counts only if its `D` is that of the features (of the last
            layer in a list), which is known after the first batch.
        pooling: How features with positions become vectors: `"average"` for
            the mean over the positions (padding included), `"flatten"` for
            all values in one row, or `None` to refuse them.

    Attributes:
        head: The head, or `None` where `features` needs none.
        names: List of strings, the layers whose features are computed.
        pooling: As above.
        is_list: Boolean, whether it is of a list of layers.

    Raises:
        ValueError: If the model is not built, no head can be found, it is
            quantised or that of a regression, or an argument is none of the
            above.

    Example:

    >>> model = nc_keras.models.MLP((28, 28, 1), 10, widths=(64, 32))
    >>> extractor = nc_keras.FeatureExtractor(model)
    >>> extractor.head.name
    'head'
    >>> features, labels = extractor(np.zeros((5, 28, 28, 1)), np.arange(5))
    >>> features.shape
    (5, 32)
    """

    def __init__(
        self,
        model: keras.Model,
        head: keras.Layer | str | None = None,
        features: Any = None,
        pooling: str | None = None,
    ):
        if not model.built:
            raise ValueError(
                "The model has no weights yet. Call it on a batch, or "
                "`model.build(input_shape)`, first. "
                f"Received: model {model.name!r}, which is not built."
            )
        if pooling not in _POOLINGS:
            raise ValueError(
                f"`pooling` must be one of {_POOLINGS}. "
                f"Received: pooling={pooling!r}."
            )
        self.model = model
        self.pooling = pooling
        self.is_list = isinstance(features, list | tuple)
        self._is_given = head is not None or features is None
        self._width = None
        if self._is_given:
            self._head: Any = Head(model, head)
        else:
            self._head = find_head_or_none(model)
        self.head = self._head and self._head.layer
        # Only of the input of a head that was found must it be seen.
        is_guess = head is None and features is None
        self._is_checked = not is_guess or not self._head.unknown
        self._sources = resolve_sources(model, self.head, features)
        self._forward = Forward(model, self._sources, pooling)

    @property
    def names(self) -> list[str]:
        return [source.name for source in self._sources]

    @property
    def outputs(self) -> list[str]:
        """The names under which labels for the head may come."""
        return self._head.names if self._head is not None else []

    @property
    def kernel(self) -> np.ndarray | None:
        """The head's weights, shape `(D, C)`, or `None` without a head."""
        return self._head.kernel if self._uses_head() else None

    @property
    def bias(self) -> np.ndarray | None:
        """The head's bias, shape `(C,)`, or `None`."""
        return self._head.bias if self._uses_head() else None

    def __call__(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        *,
        mask: Any = None,
        ignore_label: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes features in one forward pass in inference mode.

        Args:
            x: Array (or structure of arrays) of examples; or, when `y` is
                `None`, a `tf.data.Dataset`, `keras.utils.PyDataset`, torch
                `DataLoader` or other finite iterable of batches `(x, y)` or
                `(x, y, sample_weight)`. Examples of weight zero are left
                out; any other weight counts once.
            y: Integer or one-hot labels, one per example or one per token.
            batch_size: Integer, for arrays, or `None` for one that suits the
                model (256 to 2,048). The last partial batch counts.
            mask: Array of the shape of the integer labels, or one value an
                example: what is zero or false is left out. For arrays.
            ignore_label: Integer label that is left out, such as -100 or the
                0 of padding, or `None`.

        Returns:
            The features, shape `(N, D)`, and the labels, shape `(N,)` or
            one-hot `(N, C)`, in the same order.

        Raises:
            ValueError: If there are no data, if nothing is left of them, or
                if the shapes of features, labels and mask do not fit.
        """
        batches = self.batches(
            x, y, batch_size, mask=mask, ignore_label=ignore_label
        )
        features, labels = zip(*batches, strict=True)
        return np.concatenate(features), np.concatenate(labels)

    def batches(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        mask: Any = None,
        ignore_label: int | None = None,
        loss: MeanLoss | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features and labels a batch, in one forward pass.

        A batch of which nothing is left is not yielded.

        Args:
            x: As in `__call__`; so for the other arguments.
            y: Labels.
            batch_size: Integer or `None`.
            mask: Array.
            ignore_label: Integer.
            loss: What the loss of each batch is added to, or `None`.

        Returns:
            Iterator over features of shape `(n, D)`, in the dtype of the
            model (bfloat16 as float32), and labels of shape `(n,)` or one-hot
            `(n, C)`.

        Raises:
            ValueError: As `__call__`.
        """
        if self.is_list:
            raise ValueError(
                "A list of layers has a list of features a batch. Use "
                "`layer_batches`, or pass a single layer as `features`. "
                f"Received: features={self.names}."
            )
        for (features,), labels in self.layer_batches(
            x, y, batch_size, mask, ignore_label, loss
        ):
            yield features, labels

    def layer_batches(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        mask: Any = None,
        ignore_label: int | None = None,
        loss: MeanLoss | None = None,
    ) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Yields the features of each layer, and labels, in one forward pass.

        Args:
            x: As in `__call__`; so for the other arguments.
            y: Labels.
            batch_size: Integer or `None`.
            mask: Array.
            ignore_label: Integer.
            loss: As in `batches`.

        Returns:
            Iterator over lists of features, one array of shape `(n, D)` for
            each of `names`, and labels as in `batches`.

        Raises:
            ValueError: As `__call__`.

        Example:

        >>> dense = [keras.layers.Dense(8), keras.layers.Dense(3)]
        >>> model = keras.Sequential([keras.Input((4,)), *dense])
        >>> extractor = nc_keras.FeatureExtractor(model, features=dense)
        >>> x, y = np.zeros((5, 4)), np.arange(5) % 3
        >>> for features, labels in extractor.layer_batches(x, y):
        ...     print([array.shape for array in features])
        [(5, 8), (5, 3)]
        """
        if batch_size is None:
            batch_size = suitable_batch_size(self.model)
        batches = batches_of(self.model, x, y, batch_size, mask, self.outputs)
        is_empty, is_left = True, False
        for inputs, targets, keep in batches:
            is_empty = False
            if not self._is_checked:
                self._check_outputs(inputs)
            weights = () if keep is None else (keep.astype("float32"),)
            asked = () if loss is None else (targets, *weights)
            features = self._forward.predict_on_batch(inputs, *asked)
            if loss is not None:
                loss.add(features.pop(), len(targets))
            features, labels = self._counted(
                features, targets, keep, ignore_label
            )
            if len(labels):
                is_left = True
                yield features, labels
        if is_empty:
            raise NoExamplesError(
                "There must be examples. Received: an empty dataset."
            )
        if not is_left:
            raise ValueError(
                "No example is left to measure. Received: weights or a mask "
                "that are zero, or labels that are ignored, everywhere "
                f"(ignore_label={ignore_label})."
            )

    def _counted(self, features, labels, mask, ignore_label):
        """Rows of features, and their labels, without those left out."""
        rows = []
        for source, array in zip(self._sources, features, strict=True):
            array, flat, shape = rows_of(array, labels, source.name)
            rows.append((source.name, array, shape))
        _, last, shape = rows[-1]
        for name, _, other in rows:
            if other != shape:
                raise ValueError(
                    "The layers must agree about what an example is. "
                    f"Received: {math.prod(other)} features of layer {name!r} "
                    f"and {math.prod(shape)} of layer {rows[-1][0]!r} for "
                    f"labels of shape {labels.shape}. Use `pooling`."
                )
        self._validate_width(last.shape[1])
        arrays = [array for _, array, _ in rows]
        keep = counted_rows(flat, shape, mask, ignore_label)
        if keep is None or keep.all():
            return arrays, flat
        return [array[keep] for array in arrays], flat[keep]

    def refuse_unknown(self) -> None:
        """Says so if it is only a guess that the head makes the outputs.

        Raises:
            ValueError: If a layer after it may compute others.
        """
        if not self._is_checked:
            self._head.refuse_unknown()

    def _check_outputs(self, inputs):
        """Looks whether the head that was found makes the outputs."""
        few = keras.tree.map_structure(lambda array: array[:8], inputs)
        features, outputs = self._forward.eagerly(few)
        self._head.validate_outputs(features, outputs)
        self._is_checked = True

    def _uses_head(self):
        if self.head is None:
            return False
        return self._is_given or self._width == self._head.width

    def _validate_width(self, width):
        self._width = width
        if not self._is_given or self.is_list:
            return
        expected = self._head.width
        if width != expected:
            raise ValueError(
                "The features must be those the head can take. "
                f"Received: features of {self.names[0]!r} of width {width}, "
                f"and head {self.head.name!r} of width {expected}. Change "
                "`features` or `pooling`, or pass `features` without `head`."
            )


def extractor_of(
    model: keras.Model | FeatureExtractor,
    head: Any = None,
    features: Any = None,
    pooling: str | None = None,
) -> FeatureExtractor:
    """Returns the extractor of a model, or the one that stands for it.

    Args:
        model: A built `keras.Model`, or a `FeatureExtractor`, which is then
            compiled once for several measurements.
        head: As in `FeatureExtractor`; so for the other arguments.
        features: Layer, function or list.
        pooling: String or `None`.

    Raises:
        ValueError: If an extractor comes with what it knows already.
    """
    if not isinstance(model, FeatureExtractor):
        return FeatureExtractor(model, head, features, pooling)
    given = {"head": head, "features": features, "pooling": pooling}
    known = [name for name, value in given.items() if value is not None]
    if known:
        raise ValueError(
            "A `FeatureExtractor` knows its head, features and pooling: say "
            f"them there. Received: an extractor, and {', '.join(known)}."
        )
    return model
