import dataclasses
import pathlib

from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings


@dataclasses.dataclass(frozen=True)
class Trial:
    """A training of a sweep or a grid.

    Attributes:
        group: String, what it has in common with the others of its folder.
        settings: The settings of the recipe; their folder is the trial's.
        run: Loss, head and seed.
    """

    group: str
    settings: Settings
    run: Run

    @property
    def name(self) -> str:
        """What people are told."""
        return f"{self.group}, {self.run.name}"

    @property
    def folder(self) -> pathlib.Path:
        """Where curves, model and events are."""
        return self.settings.folder / self.run.name
