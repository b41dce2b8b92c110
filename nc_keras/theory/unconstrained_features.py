"""Closed-form minimisers of unconstrained-features models.

Features are free parameters, `n` for each of `K` classes, `N = n K`, and the
head is linear:

`min (1/N) sum loss(W h + b, y) + (lw/2) ||W||^2 + (lh/2) ||H||^2
 + (lb/2) ||b||^2`.

With `r = sqrt(n lw lh)` every minimiser of what follows is given by the
eigenvalues of `W W'`: one along the vector of ones, and one, `K - 1` times,
across it. Features follow from the head, `h = sqrt(lw / (n lh)) w_y`.

`examples` may be the number of each class instead, where the result is an
`ImbalancedMinimizer`, see `nc_keras.theory.imbalanced_features`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from nc_keras.arguments import checked
from nc_keras.arguments import real_array
from nc_keras.theory import imbalanced_features
from nc_keras.theory.class_groups import ClassGroups
from nc_keras.theory.imbalanced import ImbalancedMinimizer


@dataclasses.dataclass(frozen=True)
class Minimizer:
    """A global minimiser of an unconstrained-features model.

    Attributes:
        num_classes: Integer, `K`.
        margin: Float, `z_y - z_j` of the outputs of every example, the same
            for all `j`.
        weight_norm: Float, `||w_k||`.
        feature_norm: Float, `||h||`.
        bias: Float, every entry of `b`.
        loss: Float, the value of the objective.
        is_trivial: Boolean, whether `W = 0` and `H = 0` wins.
        is_simplex: Boolean, whether the rows of the head are a simplex ETF
            (else, they lie between one and an orthogonal frame).

    Args:
        num_classes: See the attributes; so for the other arguments.

    Example:

    >>> from nc_keras.theory import unconstrained_features
    >>> unconstrained_features.cross_entropy(10, 100, 1.0, 1.0).is_trivial
    True
    """

    num_classes: int
    margin: float
    weight_norm: float
    feature_norm: float
    bias: float
    loss: float
    is_trivial: bool
    is_simplex: bool


@checked(
    num_classes="integer",
    weight_decay="number",
    feature_decay="number",
    label_smoothing="number",
)
def cross_entropy(
    num_classes: int,
    examples: int | Sequence[int],
    weight_decay: float,
    feature_decay: float,
    label_smoothing: float = 0.0,
    relu: bool = False,
) -> Minimizer | ImbalancedMinimizer:
    """The minimiser under cross-entropy, with or without label smoothing.

    `z = log(1 / (r + a/K) - (K - 1))` for label smoothing `a`, or zero where
    `K r >= 1 - a`. The bias is zero. Derived here from the nuclear norm that
    the two decays add up to, `r ||Z||_*`, and checked by optimisation.

    Args:
        num_classes: Integer, `K`.
        examples: Integer, `n`, the examples of each class; or one for each
            class, for a head without bias.
        weight_decay: Float, `lw`.
        feature_decay: Float, `lh`.
        label_smoothing: Float in [0, 1), `a`.
        relu: Boolean, whether features may not be negative. Only without
            label smoothing.

    Returns:
        The `Minimizer`; with one number per class, or `relu`, an
        `ImbalancedMinimizer`.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    >>> from nc_keras.theory import unconstrained_features
    >>> best = unconstrained_features.cross_entropy(10, 100, 5e-3, 5e-5)
    >>> print(f"{best.margin:.4f} {best.weight_norm:.4f}")
    5.2523 2.1742

    Reference:

    - [Zhu et al., 2021](https://arxiv.org/abs/2105.02375), for the geometry.
    - [Zhou et al., 2022](https://arxiv.org/abs/2210.02192), for label
      smoothing.
    """
    if not 0 <= label_smoothing < 1 or (relu and label_smoothing):
        raise ValueError(
            "`label_smoothing` must be in [0, 1), and 0 with `relu`. "
            f"Received: label_smoothing={label_smoothing}, relu={relu}."
        )
    if relu or not _is_one(examples):
        groups = _groups(num_classes, examples, weight_decay, feature_decay)
        if relu:
            return imbalanced_features.rectified_cross_entropy(
                groups, weight_decay, feature_decay
            )
        return imbalanced_features.cross_entropy(
            groups, weight_decay, feature_decay, label_smoothing
        )
    model = _Decays(num_classes, examples, weight_decay, feature_decay)
    share = label_smoothing / num_classes
    inverse = 1 / (model.rate + share)
    margin = 0.0
    if inverse > num_classes:
        margin = math.log(inverse - (num_classes - 1))
    wrong = (num_classes - 1) * share
    # -log p of the label, and of each other class.
    right = math.log1p((num_classes - 1) * math.exp(-margin))
    loss = (1 - wrong) * right + wrong * (right + margin)
    return model.centered(margin, loss)


@checked(
    num_classes="integer",
    examples="integer",
    weight_decay="number",
    feature_decay="number",
)
def binary_cross_entropy(
    num_classes: int,
    examples: int,
    weight_decay: float,
    feature_decay: float,
) -> Minimizer:
    """The minimiser under `losses.BCE`, of a head with a free bias.

    The output of the own class is `s + b`, all others are `b - s / (K - 1)`,
    with `b - s / (K - 1) = logit(r)` and `-(s + b) = logit((K - 1) r)`, or
    `s = 0` and `b = -log(K - 1)` where `K r >= 1`. The rows of the head are a
    simplex ETF. Derived here: at a minimum the errors of the own class and of
    another are `(K - 1) r` and `r`.

    Args:
        num_classes: Integer, `K`.
        examples: Integer, `n`, the examples of each class.
        weight_decay: Float, `lw`.
        feature_decay: Float, `lh`.

    Returns:
        The `Minimizer`, whose `bias` is `b`.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    >>> from nc_keras.theory import unconstrained_features
    >>> best = unconstrained_features.binary_cross_entropy(10, 20, 5e-4, 1e-4)
    >>> print(f"{best.margin:.4f} {best.bias:.4f} {best.loss:.6f}")
    11.6082 -5.7459 0.122519

    Reference:

    - [Li, Xiao & Shen, 2025](https://arxiv.org/abs/2505.05813), for the
      geometry.
    """
    model = _Decays(num_classes, examples, weight_decay, feature_decay)
    others, rate = num_classes - 1, model.rate
    score, bias = 0.0, -math.log(others)
    if num_classes * rate < 1:
        low, high = _logit(rate), _logit(others * rate)
        score = -(low + high) * others / num_classes
        bias = low + score / others
    loss = np.logaddexp(0, -(score + bias))
    loss += others * np.logaddexp(0, bias - score / others)
    margin = score * num_classes / others
    return dataclasses.replace(model.centered(margin, float(loss)), bias=bias)


def _logit(share):
    if not share:
        raise OverflowError("The decays are too small.")
    return math.log(share) - math.log1p(-share)


@checked(
    num_classes="integer",
    examples="number",
    weight_decay="number",
    feature_decay="number",
    gamma="number",
)
def focal(
    num_classes: int,
    examples: int,
    weight_decay: float,
    feature_decay: float,
    gamma: float = 3.0,
) -> Minimizer:
    """The minimiser under the focal loss `-(1 - p)^gamma log p`.

    The margin minimises `(1 - p)^gamma (-log p) + (K - 1) r z` with
    `p = 1 / (1 + (K - 1) e^-z)`, a function of one number, which has no
    closed form for `gamma > 0`.

    Args:
        num_classes: As in `cross_entropy`.
        examples: As in `cross_entropy`.
        weight_decay: As in `cross_entropy`.
        feature_decay: As in `cross_entropy`.
        gamma: Float, at least 0, where it is cross-entropy.

    Returns:
        The `Minimizer`.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    >>> from nc_keras.theory import unconstrained_features
    >>> best = unconstrained_features.focal(10, 100, 5e-3, 5e-5, gamma=3.0)
    >>> best.margin < 4.9
    True

    Reference:

    - [Zhou et al., 2022](https://arxiv.org/abs/2210.02192).
    """
    # Not for everybody who imports the library.
    from scipy.optimize import minimize_scalar

    model = _Decays(num_classes, examples, weight_decay, feature_decay)
    if not gamma >= 0:
        raise ValueError(
            f"`gamma` must not be negative. Received: gamma={gamma}."
        )

    def data(margin):
        wrong = (num_classes - 1) * math.exp(-margin)
        return (wrong / (1 + wrong)) ** gamma * math.log1p(wrong)

    def objective(margin):
        return data(margin) + (num_classes - 1) * model.rate * margin

    # The loss of zero bounds what any margin may cost.
    most = objective(0.0) / ((num_classes - 1) * model.rate)
    if not math.isfinite(most):
        raise OverflowError("The margin has no bound that a float holds.")
    grid = np.linspace(0.0, most, 2001)
    least = int(np.argmin([objective(z) for z in grid]))
    bracket = grid[max(least - 1, 0)], grid[min(least + 1, 2000)]
    margin = minimize_scalar(
        objective, bounds=bracket, method="bounded", options={"xatol": 1e-12}
    ).x
    margin = margin if objective(margin) < objective(0.0) else 0.0
    return model.centered(float(margin), data(margin))


@checked(
    num_classes="integer",
    weight_decay="number",
    feature_decay="number",
    bias_decay="number",
    target="number",
)
def mean_squared_error(
    num_classes: int,
    examples: int | Sequence[int],
    weight_decay: float,
    feature_decay: float,
    bias_decay: float | None = 0.0,
    target: float = 1.0,
    class_reduction: str = "half",
) -> Minimizer | ImbalancedMinimizer:
    """The minimiser under the squared error of one-hot targets.

    `W W' / sqrt(n lh / lw)` has the eigenvalue `(M - K r)_+` across the
    vector of ones. Along it: zero with a free bias (a simplex ETF), the same
    without a bias (an orthogonal frame), `(M - K r (1 + lb) / lb)_+` with a
    bias under the decay `lb`.

    Args:
        num_classes: As in `cross_entropy`.
        examples: As in `cross_entropy`.
        weight_decay: As in `cross_entropy`.
        feature_decay: As in `cross_entropy`.
        bias_decay: Float, `lb`, 0 for a free bias; or `None` for a head
            without bias.
        target: Float, `M`, the target of the label.
        class_reduction: `"half"` for the `(1/2) sum_c` of the papers,
            `"sum"` and `"mean"` for those of `nc_keras.losses.MSE`.

    Returns:
        The `Minimizer`.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    >>> from nc_keras.theory import unconstrained_features
    >>> best = unconstrained_features.mean_squared_error(10, 100, 5e-3, 5e-5)
    >>> print(f"{best.margin:.4f} {best.bias:.4f} {best.is_simplex}")
    0.9500 0.1000 True

    Reference:

    - [Zhou et al., 2022](https://arxiv.org/abs/2203.01238).
    """
    factors = {"half": 1.0, "sum": 2.0, "mean": 2.0 / num_classes}
    if class_reduction not in factors:
        raise ValueError(
            f"`class_reduction` must be one of {tuple(factors)}. "
            f"Received: class_reduction={class_reduction!r}."
        )
    factor = factors[class_reduction]
    if not target > 0:
        raise ValueError(
            f"`target` must be positive. Received: target={target}."
        )
    if not _is_one(examples):
        if bias_decay is not None:
            raise ValueError(
                "With a number of examples for each class there is a closed "
                "form without a bias alone: pass `bias_decay=None`. "
                f"Received: bias_decay={bias_decay}."
            )
        return imbalanced_features.mean_squared_error(
            _groups(num_classes, examples, weight_decay, feature_decay),
            *(weight_decay, feature_decay, target, factor),
        )
    model = _Decays(num_classes, examples, weight_decay, feature_decay)
    if bias_decay is not None and not bias_decay >= 0:
        raise ValueError(
            "`bias_decay` must not be negative, or be `None` for no bias. "
            f"Received: bias_decay={bias_decay}."
        )
    price = num_classes * model.rate / factor
    across = max(target - price, 0.0)
    along, bias = across, 0.0
    if bias_decay is not None:
        decay = bias_decay / factor
        along = max(target - price * (1 + decay) / decay, 0.0) if decay else 0.0
        bias = (target - along) / (num_classes * (1 + decay))
    misses = along + num_classes * bias - target
    data = (num_classes - 1) * (across - target) ** 2 + misses**2
    loss = factor * data / (2 * num_classes)
    loss += (bias_decay or 0.0) / 2 * num_classes * bias**2
    return model.minimizer(across, along, bias, loss)


def _is_one(examples):
    """Whether it is one number for all classes, and not one for each."""
    array = real_array(examples, "`examples`")
    if not np.isfinite(array).all():
        raise ValueError(
            f"`examples` must be finite. Received: examples={examples}."
        )
    return array.ndim == 0


def _groups(num_classes, examples, weight_decay, feature_decay):
    """The classes, once all numbers are known to be right."""
    if _is_one(examples):
        examples = [examples] * num_classes
    if len(examples) != num_classes:
        raise ValueError(
            "`examples` must be one number, or one for each class. Received: "
            f"num_classes={num_classes}, examples={examples}."
        )
    groups = ClassGroups(examples)
    _require_decays(weight_decay, feature_decay)
    return groups


def _require_decays(weight_decay, feature_decay):
    if not (weight_decay > 0 and feature_decay > 0):
        raise ValueError(
            "Without decay of head and features there is no minimiser. "
            f"Received: weight_decay={weight_decay}, "
            f"feature_decay={feature_decay}."
        )


class _Decays:
    """What the decays of head and features make of the outputs."""

    def __init__(self, num_classes, examples, weight_decay, feature_decay):
        if num_classes < 2 or examples < 1:
            raise ValueError(
                "At least two classes and one example of each are needed. "
                f"Received: num_classes={num_classes}, examples={examples}."
            )
        _require_decays(weight_decay, feature_decay)
        self.num_classes = num_classes
        self.rate = math.sqrt(examples * weight_decay * feature_decay)
        self._scale = math.sqrt(examples * feature_decay / weight_decay)
        self._ratio = math.sqrt(weight_decay / (examples * feature_decay))

    def centered(self, margin, data):
        """The minimiser of a loss that a shift of all outputs leaves alone."""
        return self.minimizer(margin, 0.0, 0.0, data)

    def minimizer(self, across, along, bias, data):
        """From the eigenvalues of the outputs at the class means."""
        classes = self.num_classes
        nuclear = (classes - 1) * across + along
        norm = math.sqrt(self._scale * nuclear / classes)
        return Minimizer(
            num_classes=classes,
            margin=across,
            weight_norm=norm,
            feature_norm=self._ratio * norm,
            bias=bias,
            loss=data + self.rate * nuclear,
            is_trivial=nuclear == 0,
            is_simplex=across > 0 and along == 0,
        )
