import dataclasses
import json
import pathlib
from typing import Annotated
from typing import Any
from typing import Literal

import tyro

from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments.options.built_in import ALL_HEADS
from nc_keras.experiments.options.built_in import ALL_LOSSES
from nc_keras.experiments.options.built_in import NETWORKS
from nc_keras.experiments.options.built_in import OF_UNEQUAL
from nc_keras.experiments.options.built_in import depth_of
from nc_keras.experiments.options.built_in import go_together
from nc_keras.experiments.options.checks import require_sound
from nc_keras.experiments.options.imbalance import Imbalance
from nc_keras.experiments.options.own import REFERENCES
from nc_keras.experiments.options.own import Own
from nc_keras.experiments.options.own import by_tag
from nc_keras.experiments.options.own import identity
from nc_keras.experiments.options.own import named_data
from nc_keras.experiments.options.own import take_in
from nc_keras.experiments.options.protocol import DEFAULT_RATES
from nc_keras.experiments.options.protocol import Fact
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import Status
from nc_keras.experiments.options.remainder import Remainder
from nc_keras.experiments.options.schedule import stepped_rate

# What may be an object of the user's instead of a name, with the names that
# are built in; `None` where they are checked later.
_OWN = {
    "dataset": None,
    "network": NETWORKS,
    "heads": ALL_HEADS,
    "losses": ALL_LOSSES,
    "metrics": None,
    "callbacks": (),
}
_SINGLE = ("dataset", "network")
# What the record has only where it is used.
_RARE = ("standardize", "metrics", "callbacks")
# How results are shown, which changes nothing that is trained.
SHOWN = ("formats", "tables", "spread")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a comparison."""

    loss: str
    head: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder and of its lines in TensorBoard."""
        return f"{self.loss}-{self.head}-{self.seed}"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a recipe does: its command line, and its record.

    Data set, network, heads, losses, metrics and callbacks may be objects and
    functions of your own. The fields then have their names, and `own` the
    objects; see docs/own.md.
    """

    dataset: str
    """The data set: a name, a folder of images, or MODULE:NAME."""

    network: str = "conv_net"
    """mlp, conv_net, resnet18 to 152, vgg11 to 19, densenet40 to 250, or
    MODULE:NAME."""

    widths: tuple[int, ...] = ()
    """Width of each hidden layer (mlp), filters of each block (conv_net), or
    of the first stage (resnet, vgg). Defaults to the network's own."""

    norm: Literal["batch", "frn", "none"] = "batch"
    """What networks normalise by: batch (BatchNorm), frn (filter response
    normalisation), or none."""

    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """How resnet and densenet begin; auto is imagenet from 65 pixels on."""

    heads: tuple[str, ...] = ("linear", "etf_dim_c")
    """Heads to compare: linear, etf (a frame turned at random), etf_dim_c (not
    turned, and as many features as classes), etf_canonical (not turned, all
    features), nearest_etf (turns to the class means), weight_norm, or
    MODULE:NAME."""

    losses: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--loss"])] = (
        "ce",
    )
    """Losses to compare: ce, mse, rescaled_square (k = 1, M = 15; for 1,000
    classes k = 15, M = 30); for unequal classes logit_adjusted, vs, ldam and
    dot_regression (of fixed heads), the last two of features of length 1; or
    MODULE:NAME."""

    metrics: tuple[str, ...] = ()
    """More metrics to measure: their tags, or MODULE:NAME."""

    callbacks: tuple[str, ...] = ()
    """Callbacks of your own: MODULE:NAME."""

    seeds: Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seed"])] = (0,)
    """Each seeds the initial weights, the fixed frame and the order of the
    images; the order is the same for every head and loss."""

    epochs: int = 60
    """Passes over the training images."""

    fraction: float = 1.0
    """Scales the epochs, and with them the schedule, down."""

    batch_size: int = 128
    """Images in a training step."""

    remainder: Remainder = "drop"
    """Images that fill no batch: drop them (each epoch others), keep them as
    a smaller batch, or spread them over the other batches."""

    learning_rate: float | None = None
    """The rate before its drops, for every loss. Defaults to the best that is
    known of network and loss."""

    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    """Rates by loss, such as: ce 0.1 mse 0.2."""

    drops: tuple[float, ...] = (1 / 3, 2 / 3)
    """At which shares of the epochs the rate drops by ten."""

    momentum: float = 0.9
    """The momentum of SGD."""

    weight_decay: float = 5e-4
    """Coupled weight decay of every trainable variable."""

    measurements: int = 50
    """At how many log-spaced epochs to measure; the papers have 50."""

    deepfool: int = 0
    """Test images to measure the robustness of, 100 in the papers; 0: none."""

    kernel: int | None = None
    """Training images of which to measure the tangent kernel, such as 200.
    Defaults to none."""

    per_class: int | None = None
    """Training images per class. Defaults to all."""

    imbalance: Imbalance | None = None
    """Unequal classes of training images: step or exponential. Defaults to
    what the data set has."""

    ratio: float | None = None
    """With `--imbalance`: images of the largest class for one of the
    smallest, such as 100."""

    minority: int | None = None
    """With `--imbalance step`: how many of the last classes are small.
    Defaults to half of them."""

    oversample: int | None = None
    """How often an image of a rare class may come in one pass, at most, until
    its class has as many as the largest. Defaults to once."""

    test_images: int | None = None
    """Test images. Defaults to all."""

    threshold: float = 0.999
    """The training accuracy at which the terminal phase begins."""

    protocol: tyro.conf.Suppress[tyro.conf.Fixed[Protocol | None]] = (
        dataclasses.field(default=None, repr=False)
    )
    """The papers' protocol of the data set, if they have one."""

    protocol_epochs: tyro.conf.Suppress[int | None] = None
    """The epochs of the papers' protocol, if the recipe follows it."""

    recipe_epochs: tyro.conf.Suppress[int | None] = None
    """The epochs before `fraction` scaled them."""

    standardize: bool | None = None
    """Whether examples are standardised inside of the network, by mean and
    deviation of each channel. Defaults to images of uint8 alone."""

    own: tyro.conf.Suppress[tyro.conf.Fixed[Own]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    """The objects that names of a recipe mean."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What layers compute in; weights and statistics are float32 always."""

    steps_per_execution: int = 1
    """Steps that TensorFlow or JAX makes at a time, for small networks on a
    GPU; a loss that is not finite is then located to this many steps."""

    devices: int = 1
    """Devices that share each batch; of several processes, always all."""

    data_dir: pathlib.Path = pathlib.Path("data")
    """Where prepared data sets are."""

    output: pathlib.Path | None = None
    """Where results go. Defaults to runs/<dataset>-<network>."""

    progress: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Whether to show progress bars."""

    formats: tuple[Literal["pdf", "svg", "png"], ...] = ()
    """Formats in which each figure is also written, into figures/."""

    tables: tuple[Literal["tex", "csv", "md"], ...] = ()
    """Formats in which the numbers are also written, as table.tex and so on."""

    spread: Literal["range", "std", "ci95"] = "range"
    """What is drawn around means over seeds: from the smallest to the largest,
    ± the standard deviation, or the 95 % interval of the mean."""

    @classmethod
    def of(cls, protocol: Protocol, **changes: Any) -> "Settings":
        """The settings that follow the papers' protocol of a dataset."""
        shared = {
            field.name: getattr(protocol, field.name)
            for field in dataclasses.fields(Protocol)
            if field.name not in ("networks", "published")
        }
        return cls(
            **shared,
            protocol=protocol,
            protocol_epochs=protocol.epochs,
            deepfool=100,
            **changes,
        )

    def __post_init__(self):
        self._take_in()
        for name in ("data_dir", "output"):
            path = getattr(self, name)
            if isinstance(path, str):
                object.__setattr__(self, name, pathlib.Path(path))
        require_sound(self)

    def _take_in(self):
        """Leaves the names in the fields, and puts the objects into `own`."""
        own = self.own
        given = {kind: getattr(self, kind) for kind in _OWN}
        given["dataset"] = named_data(given["dataset"])
        given["metrics"] = by_tag(given["metrics"])
        for kind, known in _OWN.items():
            names, own = take_in(kind, given[kind], known, own)
            if kind in ("heads", "losses") and not names:
                raise ValueError(
                    f"`{kind}` must name one or more of {', '.join(known)}. "
                    f"Received: {kind}={names}."
                )
            if kind in _SINGLE:
                (names,) = names
            object.__setattr__(self, kind, names)
        object.__setattr__(self, "own", own)

    def meant(self, kind: str, name: str) -> Any:
        """What a name means: an object of the recipe's, or a built-in's name.

        Args:
            kind: The field that it is in, such as `"heads"`.
            name: The name.
        """
        return self.own.get(kind, {}).get(name, name)

    def spelled(self, kind: str, name: str) -> str:
        """How a command line names what a recipe may not know."""
        references = self.own.get(REFERENCES, {})
        is_own = name in self.own.get(kind, {})
        return references.get(name, name) if is_own else name

    @property
    def all_heads(self) -> tuple[str, ...]:
        """The heads that it can have, in the order of the tables."""
        return *ALL_HEADS, *self.own.get("heads", ())

    @property
    def all_losses(self) -> tuple[str, ...]:
        """The losses that it can have, in the order of the tables."""
        return *ALL_LOSSES, *self.own.get("losses", ())

    def identities(self, run: Run | None = None) -> dict[str, str]:
        """What the recipe's own objects are, by kind and name.

        Args:
            run: Of which heads and losses to leave out the others'.
        """
        used = {kind: getattr(self, kind) for kind in _OWN}
        if run is not None:
            used |= {"heads": (run.head,), "losses": (run.loss,)}
        # The digest of the data says more than where they are from.
        del used["dataset"]
        return {
            f"{kind} {name}": identity(self.own[kind][name])
            for kind, names in used.items()
            for name in ([names] if kind in _SINGLE else names)
            if name in self.own.get(kind, {})
        }

    @property
    def folder(self) -> pathlib.Path:
        """Where results go."""
        return self.output or pathlib.Path(
            "runs", f"{self.dataset}-{self.network}"
        )

    @property
    def title(self) -> str:
        """What was trained, for tables and plots."""
        widths = "-".join(map(str, self.widths))
        return f"{self.dataset}, {self.network}" + (
            f" of width {widths}" if widths else ""
        )

    @property
    def runs(self) -> list[Run]:
        """The trainings, so that a first comparison is there early."""
        return [
            Run(loss, head, seed)
            for seed in self.seeds
            for loss in self.losses
            for head in self.heads
            if self._fit(loss, head)
        ]

    def _fit(self, loss: str, head: str) -> bool:
        """Whether a head can be trained with a loss."""
        loss, head = self.meant("losses", loss), self.meant("heads", head)
        return not isinstance(loss, str) or go_together(loss, head)

    @property
    def measured_epochs(self) -> list[int]:
        """The epochs, counted from 1, at which collapse is measured."""
        return log_spaced_epochs(self.epochs, self.measurements)

    def settled(self, default: "Settings") -> "Settings":
        """The settings of a command line, as they are run.

        `fraction` is worked into the epochs. Widths and rates that the recipe
        has for its own network are not carried over to another one.

        Args:
            default: The recipe's settings.

        Raises:
            ValueError: If the network takes no widths, or one only.
        """
        changes = {}
        if self.imbalance is not None and not self.metrics:
            changes["metrics"] = OF_UNEQUAL
        if self.fraction != 1:
            changes["fraction"] = 1.0
            changes["epochs"] = max(1, round(self.fraction * self.epochs))
            changes["recipe_epochs"] = self.epochs
        if self.network != default.network:
            if self.rates == default.rates:
                changes["rates"] = {}
            if self.widths == default.widths:
                changes["widths"] = ()
        if self.dataset != default.dataset:
            changes |= {"protocol": None, "protocol_epochs": None}
        settled = dataclasses.replace(self, **changes)
        if settled.network in settled.own.get("network", {}):
            if settled.widths:
                raise ValueError(
                    "A network of your own has its own widths. "
                    f"Received: widths={settled.widths}."
                )
            return settled
        family, depth = depth_of(settled.network)
        most = {"resnet": 1, "vgg": 1, "densenet": 0}.get(family)
        if most is not None and len(settled.widths) > most:
            raise ValueError(
                f"{settled.network} takes {most or 'no'} `widths`. "
                f"Received: widths={settled.widths}."
            )
        return settled

    def rate(self, loss: str) -> Fact:
        """The learning rate of a loss, and where it is from."""
        if self.learning_rate is not None:
            return Fact(self.learning_rate, Status.OURS)
        if loss in self.rates:
            return Fact(self.rates[loss], Status.OURS)
        loss = self.meant("losses", loss)
        if loss not in DEFAULT_RATES:
            rate = self.rate("ce").value
            return Fact(rate, Status.OURS, "that of ce, for want of its own")
        if self.protocol is None:
            return DEFAULT_RATES[loss]
        return self.protocol.rate(self.network, loss)

    def plain(self) -> dict[str, Any]:
        """What is written down of them: numbers, strings and lists."""
        fields = {
            name: value
            for name, value in vars(self).items()
            if name not in ("protocol", "own", *SHOWN)
            and not (name in _RARE and value in (None, ()))
        }
        return json.loads(json.dumps(fields, default=str)) | self.identities()

    def learning_rate_at(self, epoch: int, loss: str) -> float:
        """The learning rate of an epoch, counted from 0."""
        rate = self.rate(loss).value
        return stepped_rate(rate, epoch, self.epochs, self.drops)
