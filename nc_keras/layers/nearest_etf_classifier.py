import math
import random
from typing import Any

import keras
from keras import ops

from nc_keras.arguments import require_numbers
from nc_keras.geometry import centered_basis
from nc_keras.geometry import simplex_etf
from nc_keras.geometry import validate_num_classes
from nc_keras.labels import weighted_rows


@keras.saving.register_keras_serializable(package="nc_keras")
class NearestETFClassifier(keras.layers.Layer):
    """A simplex ETF that turns towards the class means as they move.

    As `ETFClassifier`, but the frame is the nearest one to the class means,
    of which the layer keeps an exponential average, and their mean is the
    origin: `scale * (h - mu_G) E'`. No class vector is learned: the frame is
    the solution of an orthogonal Procrustes problem.

    In training `nc_keras.callbacks.FollowClassMeans` hands it the labels,
    which no layer sees. Without that callback the frame stays where it was
    drawn. It and the means are non-trainable weights, saved with the model.

    Args:
        num_classes: Integer, the number of classes `C`, at least 2.
        scale: Float, the length of each class vector. Defaults to `1.0`.
        seed: As in `ETFClassifier`, of the frame before the first step.
        momentum: Float in [0, 1), the share of the class means of before that
            stays in a step with examples of the class. Defaults to `0.9`.
        proximal: Float, positive: how much the frame of before weighs, beside
            means of norm one. It decides where means leave directions open.
            Defaults to `1e-3`.
        **kwargs: Base layer keyword arguments, such as `name` and `dtype`.

    Input shape:
        `(batch_size, ..., D)` with `D >= C - 1`.

    Output shape:
        `(batch_size, ..., C)`.

    Raises:
        ValueError: If an argument is out of its range, or, when the layer is
            built, if `D` is too small.

    Example:

    >>> head = nc_keras.layers.NearestETFClassifier(3, momentum=0.0)
    >>> means = np.eye(3, 8)
    >>> outputs = head(means)
    >>> head.follow(means, np.arange(3))
    >>> print(keras.ops.convert_to_numpy(head(means)).round(3))
    [[ 0.816 -0.408 -0.408]
     [-0.408  0.816 -0.408]
     [-0.408 -0.408  0.816]]

    Reference:

    - [Markou et al., 2024](https://arxiv.org/abs/2411.01248), who solve the
      problem on a manifold, and differentiate through it; here it has its
      closed form, and the frame is a constant of each step.
    """

    def __init__(
        self,
        num_classes: int,
        scale: float = 1.0,
        seed: int | None = None,
        momentum: float = 0.9,
        proximal: float = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        require_numbers(scale=scale, momentum=momentum, proximal=proximal)
        if not scale > 0:
            raise ValueError(
                f"`scale` must be positive. Received: scale={scale}."
            )
        if not 0 <= momentum < 1 or not proximal > 0:
            raise ValueError(
                "`momentum` must be in [0, 1), and `proximal` positive. "
                f"Received: momentum={momentum}, proximal={proximal}."
            )
        self.num_classes = validate_num_classes(num_classes)
        self.scale = scale
        self.seed = random.getrandbits(32) if seed is None else seed
        self.momentum = momentum
        self.proximal = proximal

    def build(self, input_shape):
        dim = input_shape[-1]
        classes = self.num_classes
        self.frame = self._state("frame", (dim, classes), self._drawn)
        self.means = self._state("means", (classes, dim))
        self.seen = self._state("seen", (classes,))
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: dim})

    def follow(
        self, features: Any, labels: Any, sample_weight: Any = None
    ) -> None:
        """Moves the class means by a batch, and the frame to them.

        The frame waits until each class has had an example.

        Args:
            features: Tensor of shape `(B, D)`, the inputs of the layer.
            labels: Integers of shape `(B,)`, or one-hot labels.
            sample_weight: Tensor of shape `(B,)` or `None`. Examples of
                weight zero do not count.
        """
        features = ops.cast(features, self.means.dtype)
        if sample_weight is not None:
            sample_weight = ops.cast(
                ops.convert_to_tensor(sample_weight), "bool"
            )
        member = weighted_rows(
            ops.convert_to_tensor(labels),
            features,
            self.num_classes,
            sample_weight,
        )
        counts = ops.sum(member, axis=0)
        means = ops.matmul(ops.transpose(member), features)
        means = means / ops.maximum(counts, 1.0)[:, None]
        known, seen = map(ops.convert_to_tensor, (self.means, self.seen))
        kept = ops.where(seen > 0, self.momentum, 0.0)[:, None]
        moved = kept * known + (1 - kept) * means
        known = ops.where(counts[:, None] > 0, moved, known)
        seen = ops.where(counts > 0, 1.0, seen)
        frame = ops.convert_to_tensor(self.frame)
        nearest = self._nearest(known, frame)
        self.means.assign(known)
        self.seen.assign(seen)
        self.frame.assign(ops.where(ops.all(seen > 0), nearest, frame))

    @property
    def kernel(self) -> Any:
        """The class vectors as columns, shape `(D, C)`, as in `Dense`."""
        return ops.multiply(self.scale, self.frame)

    @property
    def bias(self) -> Any:
        """`-scale E mu_G`, shape `(C,)`."""
        return -ops.matmul(ops.mean(self.means, axis=0), self.kernel)

    def call(self, inputs):
        outputs = ops.matmul(inputs, ops.cast(self.kernel, self.compute_dtype))
        return ops.add(outputs, ops.cast(self.bias, self.compute_dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            scale=self.scale,
            seed=self.seed,
            momentum=self.momentum,
            proximal=self.proximal,
        )
        return config

    def _state(self, name, shape, initializer="zeros"):
        # Followed at full precision, hence no autocast.
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def _drawn(self, shape, dtype=None):
        frame = simplex_etf(self.num_classes, shape[0], self.seed)
        return ops.convert_to_tensor(frame.T, dtype=dtype)

    def _nearest(self, means, frame):
        """The simplex ETF nearest to the means and, a little, to the frame."""
        rank = self.num_classes - 1
        basis = ops.cast(centered_basis(self.num_classes).T, frame.dtype)
        across = ops.matmul(basis, means)
        norm = ops.sqrt(ops.sum(across**2))
        across = across / ops.where(norm > 0, norm, 1.0)
        stretch = math.sqrt(self.num_classes / rank)
        before = ops.matmul(basis, ops.transpose(frame)) / stretch
        left, _, right = ops.svd(
            2 / math.sqrt(rank) * across + self.proximal * before,
            full_matrices=False,
        )
        nearest = ops.matmul(ops.transpose(basis), ops.matmul(left, right))
        return ops.transpose(nearest) * stretch
