"""The settings of a study: one claim of a paper, on real images."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import tyro

from nc_keras.experiments.console.program import program
from nc_keras.experiments.options.remainder import Remainder


@dataclasses.dataclass(frozen=True)
class Study:
    """What every study can be told; each adds settings of its own.

    Those need no slow import: `--help` runs nothing else of a study's file.
    """

    name: tyro.conf.Suppress[str]
    """What the study is called; its folder is runs/<name>."""

    dataset: str = "fashion_mnist"
    """The data set: digits, or one that tools/prepare_dataset.py made."""

    per_class: int | None = None
    """Training images per class. Defaults to all."""

    test_images: int | None = None
    """Test images. Defaults to all."""

    seed: int = 0
    """Seeds the initial weights and the order of the images."""

    epochs: int = 100
    """Passes over the training images."""

    remainder: Remainder = "drop"
    """Images that fill no batch: drop them (each epoch others), keep them as
    a smaller batch, or spread them over the other batches."""

    data_dir: pathlib.Path = pathlib.Path("data")
    """Where prepared data sets are."""

    output: pathlib.Path | None = None
    """Where results go. Defaults to runs/<name>."""

    progress: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Whether to show progress bars."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            values = value if isinstance(value, tuple) else (value,)
            for one in values:
                is_number = isinstance(one, int | float)
                if is_number and not isinstance(one, bool) and one < 0:
                    raise ValueError(
                        f"`{field.name}` must not be negative. "
                        f"Received: {field.name}={value}."
                    )
        if self.epochs < 1:
            raise ValueError(
                f"`epochs` must be positive. Received: epochs={self.epochs}."
            )

    def plain(self) -> dict[str, Any]:
        """What is written down of them: numbers, strings and lists."""
        fields = dataclasses.asdict(self)
        return json.loads(json.dumps(fields, default=str))

    @property
    def folder(self) -> pathlib.Path:
        """Where results go."""
        return self.output or pathlib.Path("runs", self.name)


def parse(
    default: Study,
    description: str = "",
    arguments: Sequence[str] | None = None,
    prog: str | None = None,
) -> Any:
    """Returns the study of a command line.

    Args:
        default: The settings of the study; each is an option of the command.
        description: String, the text of `--help`.
        arguments: The options; by default those of the command line.
        prog: What `--help` calls the command.
    """
    return tyro.cli(
        type(default),
        prog=prog or " ".join(program()),
        default=default,
        description=description,
        args=arguments,
    )
