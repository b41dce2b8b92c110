import dataclasses
import math
import pathlib
from typing import Annotated
from typing import Literal

import tyro

Network = Literal["mlp", "conv_net"]
Loss = Literal["ce", "mse", "rescaled_square"]
Head = Literal["linear", "etf", "weight_norm"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one run of a recipe does: its command line, and its record."""

    dataset: tyro.conf.Suppress[str]
    """The data set; each recipe has its own."""

    network: Network = "conv_net"
    """The network; its layers below the head are the same for every head."""

    widths: tuple[int, ...] = (32, 64, 128)
    """The width of each hidden layer (mlp), or filters a block (conv_net)."""

    heads: tuple[Head, ...] = ("linear", "etf")
    """The heads to train and compare, one after the other."""

    loss: Loss = "ce"
    """The loss of the raw outputs; rescaled_square has k = 1, M = 15."""

    epochs: int = 60
    """Passes over the training images."""

    batch_size: int = 128
    """Images in a training step."""

    learning_rate: float = 0.05
    """The rate before the drops by ten at 1/3 and 2/3 of the epochs."""

    momentum: float = 0.9
    """The momentum of SGD."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""

    measure: Literal["log", "every"] = "log"
    """Measure at 50 log-spaced epochs, as the papers do, or at every one."""

    per_class: int | None = None
    """Train on so many images a class instead of all of them."""

    seed: int = 0
    """Seeds initial weights, the fixed frame and the order of the images."""

    threshold: float = 0.999
    """The training accuracy at which the terminal phase begins."""

    data_dir: pathlib.Path = pathlib.Path("data")
    """Where prepared data sets are."""

    output: pathlib.Path | None = None
    """Where results go. Defaults to runs/<dataset>-<network>-<loss>."""

    progress: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Whether to show progress bars."""

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be positive. "
                    f"Received: {name}={getattr(self, name)}."
                )

        if not self.heads:
            raise ValueError("`heads` must name at least one. Received: none.")

    @property
    def folder(self) -> pathlib.Path:
        """Where results go."""
        name = f"{self.dataset}-{self.network}-{self.loss}"
        return self.output or pathlib.Path("runs") / name

    @property
    def title(self) -> str:
        """What was trained, for tables and plots."""
        return f"{self.dataset}, {self.network}, {self.loss}"

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        drops = sum(
            epoch >= math.floor(self.epochs * share / 3) for share in (1, 2)
        )
        return self.learning_rate * 0.1**drops
