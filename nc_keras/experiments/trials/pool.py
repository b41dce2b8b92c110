"""Many trainings at once, on Ray Tune, and never one that has finished.

The folders of the runs say what is done. What Ray writes, in `.ray` beside
them, is for looking at errors only: it is never read, and goes at the next
start.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import types
from collections.abc import Iterator
from collections.abc import Sequence

from nc_keras.experiments.console.quiet import silenced
from nc_keras.experiments.locks import hold
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.results.record import is_finished
from nc_keras.experiments.trials.trial import Trial

_RAY_FOLDER = ".ray"
# Ray reads these when it is imported: it asks for nothing from elsewhere,
# writes no logs of its own, and leaves Ctrl-C to us.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclasses.dataclass
class Outcome:
    """What became of the trials that were started.

    Attributes:
        errors: For each folder of a trial that broke off, why.
        interrupted: Whether Ctrl-C came before the end.
    """

    errors: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)
    interrupted: bool = False


@contextlib.contextmanager
def only_one_here(folder: pathlib.Path) -> Iterator[None]:
    """Keeps a second sweep or grid out of a folder.

    Raises:
        OSError: If there is one.
    """
    with hold(folder):
        shutil.rmtree(folder / _RAY_FOLDER, ignore_errors=True)
        yield


def run_trials(
    trials: Sequence[Trial],
    folder: pathlib.Path,
    cluster: Cluster,
    progress: bool = True,
) -> Outcome:
    """Trains the trials that have not finished; one that fails ends no other.

    Args:
        trials: The trials, whose folders are claimed.
        folder: The folder of them all, which every machine of the cluster
            sees under this name.
        cluster: Where to run.
        progress: Whether to draw a table of what is running.

    Raises:
        OSError: If the cluster cannot be reached.
        ValueError: If Ray is not installed, no machine is large enough, or a
            trial is for several devices.
    """
    devices = max(trial.settings.devices for trial in trials)
    if devices > 1:
        raise ValueError(
            "A trial runs on one device, which trials may share, and does not "
            f"spread over several. Received: devices={devices}."
        )
    waiting = [trial for trial in trials if not is_finished(trial.folder)]
    if len(waiting) < len(trials):
        print(
            f"{len(trials) - len(waiting)} of {len(trials)} trials finished "
            "before, not trained again"
        )
    outcome = Outcome()
    if not waiting:
        return outcome
    tuning = _import_tuning()
    storage = folder.resolve() / _RAY_FOLDER
    try:
        with tuning.connected(cluster) as gpus:
            tuning.tune_trials(
                waiting, storage, cluster, gpus, progress, outcome.errors
            )
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome


def _import_tuning() -> types.ModuleType:
    os.environ.update(_ENVIRONMENT)
    try:
        with silenced(2):
            from nc_keras.experiments.trials import ray_tune

            return ray_tune
    except ImportError as error:
        raise ValueError(
            "Sweeps and grids run on Ray Tune, which cannot be imported. "
            f"Try: pip install '.[sweep]'. Received: {error}."
        ) from error
