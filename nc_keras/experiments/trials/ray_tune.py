"""What is Ray's in a sweep; `pool` imports it when it is needed."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence

import keras
import ray
from ray import tune
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nc_keras.callbacks.schedule import is_measured
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.locks import is_held
from nc_keras.experiments.options.cluster import Cluster
from nc_keras.experiments.results.record import is_finished
from nc_keras.experiments.results.record import read_run
from nc_keras.experiments.results.summary import END
from nc_keras.experiments.results.summary import problem
from nc_keras.experiments.results.summary import value
from nc_keras.experiments.training import one_run
from nc_keras.experiments.trials.trial import Trial

# Trials share no arrays; Ray would take a third of the memory for them.
_OBJECT_STORE = 100_000_000
# After a driver was killed, its trials may take a moment to end.
_PATIENCE = 30
# How often a trial whose process died, as of a machine that was lost, goes on.
_DEATHS = 3
# Seconds for a cluster to be reached, and for it to answer.
_CONNECT, _ANSWER = 5, 15


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[float]:
    """Starts Ray here, or joins a cluster, while the block runs.

    Yields:
        The share of a GPU that a trial takes.

    Raises:
        OSError: If the cluster cannot be reached.
        ValueError: If no machine of it is large enough for a trial.
    """
    here = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    if cluster.address is not None:
        _check_address(cluster.address)
        here = {}
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        ray.init(
            # Not `None`, which may be a cluster that the environment names.
            address=cluster.address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": environment(cluster)},
            **here,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"Cannot start or join Ray: {reason} "
            f"Received: address={cluster.address}."
        ) from error
    try:
        yield _gpus(cluster)
    finally:
        ray.shutdown()


def environment(cluster: Cluster) -> dict[str, str]:
    """The environment of a trial's process, on every machine."""
    threads = str(cluster.cpus_per_trial)
    # Where modules of the user's own are; each Python finds its own library.
    paths = [
        path or os.getcwd()
        for path in sys.path
        if not path.startswith((sys.prefix, sys.base_prefix))
    ]
    variables = {
        "PYTHONPATH": os.pathsep.join(paths),
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # TensorFlow would take the whole GPU at once, and JAX three quarters.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        # What XLA takes the number of its threads from.
        "NPROC": threads,
    }
    share = cluster.gpus_per_trial
    if share is not None and share < 1:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * share:.3f}"
    return variables


def tune_trials(
    trials: Sequence[Trial],
    storage: pathlib.Path,
    cluster: Cluster,
    gpus: float,
    progress: bool,
    errors: dict[pathlib.Path, str],
) -> None:
    """Trains all trials, as many at once as there is room for.

    Args:
        trials: The trials.
        storage: Where Ray writes.
        cluster: What a trial takes.
        gpus: The share of a GPU that a trial takes.
        progress: Whether to draw a table of what is running.
        errors: Takes, for each folder of a trial that broke off, why.
    """
    elsewhere = [_elsewhere(trial) for trial in trials]
    tuner = tune.Tuner(
        tune.with_resources(
            # Data of a recipe's own may be large.
            tune.with_parameters(_train, trials=elsewhere),
            {"cpu": cluster.cpus_per_trial, "gpu": gpus},
        ),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        # Starting a process and importing takes longer than some trials.
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_DEATHS),
            callbacks=[monitor := Monitor(trials, errors)],
        ),
    )
    with monitor.drawn() if progress else contextlib.nullcontext():
        tuner.fit()


class Monitor(tune.Callback):
    """Tells which trials are running, how far they are, and how they ended.

    Args:
        trials: All trials.
        errors: Takes, for each folder of a trial that broke off, why.
    """

    def __init__(
        self, trials: Sequence[Trial], errors: dict[pathlib.Path, str]
    ):
        self._trials = trials
        self._errors = errors
        self._running = {}
        self._ended = 0
        self._console = Console()

    def __getstate__(self):
        # Ray pickles it, to go on with it: we start again instead.
        return {}

    @contextlib.contextmanager
    def drawn(self) -> Iterator[None]:
        """Draws a table, on a terminal, while the block runs."""
        with Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=2,
            transient=True,
        ):
            yield

    def on_trial_start(self, iteration, trials, trial, **info):
        self._running[trial.config["trial"]] = {}

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self._running[trial.config["trial"]] |= result

    def on_trial_complete(self, iteration, trials, trial, **info):
        number = trial.config["trial"]
        reason = self._running.get(number, {}).get("failed")
        if reason is not None:
            self._fail(trial, reason)
            return
        run = read_run(self._trials[number].folder)
        self._end(trial, "was not measured" if run is None else _words(run))

    def on_trial_error(self, iteration, trials, trial, **info):
        self._fail(trial, _reason(trial))

    def on_trial_recover(self, iteration, trials, trial, **info):
        number = trial.config["trial"]
        self._running.pop(number, None)
        name = self._trials[number].name
        self._say(f"{name}: {_reason(trial)}; goes on from its checkpoint")

    def _fail(self, trial, reason):
        self._errors[self._trials[trial.config["trial"]].folder] = reason
        self._end(trial, f"failed, {reason}")

    def _end(self, trial, words):
        number = trial.config["trial"]
        self._running.pop(number, None)
        self._ended += 1
        count = f"{self._ended}/{len(self._trials)}"
        self._say(f"{count}  {self._trials[number].name}: {words}")

    def _say(self, words):
        self._console.print(Text(words), soft_wrap=True)

    def _table(self):
        table = Table(
            title=f"{self._ended} of {len(self._trials)} trials ended",
            title_justify="left",
            box=None,
        )
        for heading in ("running", "epoch", "error", "NC1", "test accuracy"):
            right = "left" if heading == "running" else "right"
            table.add_column(heading, justify=right)
        for number, result in self._running.items():
            table.add_row(self._trials[number].name, *_progress(result))
        return table


class Reporter(keras.callbacks.Callback):
    """Reports each measured epoch to Ray Tune.

    Comes after the callback that measures.
    """

    def on_epoch_end(self, epoch, logs=None):
        if is_measured(logs or {}, "nc1"):
            tune.report(
                {
                    "epoch": epoch + 1,
                    "error": 1 - logs["nc_accuracy"],
                    "nc1": logs["nc1"],
                    "val_accuracy": logs["val_nc_accuracy"],
                }
            )


def _train(config, trials):
    """Trains one trial; Ray calls it in a process of its own.

    Ray repeats what breaks off, so that only the death of a process may.
    """
    try:
        _train_one(trials[config["trial"]])
        # Of a trial that reports nothing, Ray prints a line of its own.
        tune.report({"ended": True})
    except Exception as error:
        tune.report({"failed": _last_line(error)})


def _train_one(trial: Trial) -> None:
    # Processes go on to other trials: nothing of this one is left to them.
    keras.backend.clear_session()
    deadline = time.monotonic() + _PATIENCE
    while is_held(trial.folder) and time.monotonic() < deadline:
        time.sleep(1)
    if not is_finished(trial.folder):
        one_run.train(
            trial.settings,
            trial.run,
            prepare(trial.settings),
            callbacks=[Reporter()],
        )


def _elsewhere(trial: Trial) -> Trial:
    """The trial for another process, perhaps of another machine."""
    settings = dataclasses.replace(
        trial.settings,
        output=trial.settings.folder.absolute(),
        data_dir=trial.settings.data_dir.absolute(),
        progress=False,
    )
    return dataclasses.replace(trial, settings=settings)


def _check_address(address):
    """Sees that a Ray cluster answers; Ray itself tries for over a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT).close()
        # In a process of its own, which can be stopped.
        script = f"import ray; ray.init({address!r}, log_to_driver=False)"
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, timeout=_ANSWER
        )
    except (OSError, OverflowError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise OSError(
            f"There is no Ray cluster there: {reason}. Start one with `ray "
            "start --head`, or leave --address out; if it wants a token, as "
            "Ray does by default on several machines, set RAY_AUTH_MODE=token "
            f"and have ~/.ray/auth_token here too. Received: {address=}."
        ) from error


def _gpus(cluster):
    """The share of a GPU that a trial takes, if a machine has so much."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max(machine.get("GPU", 0) for machine in machines)
    gpus = cluster.gpus_per_trial
    if gpus is None:
        gpus = min(most, 1)
    if not any(
        machine.get("CPU", 0) >= cluster.cpus_per_trial
        and machine.get("GPU", 0) >= gpus
        for machine in machines
    ):
        sizes = "; ".join(
            f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs"
            for machine in machines
        )
        raise ValueError(
            f"No machine has room for a trial; there are: {sizes}. "
            f"Received: cpus_per_trial={cluster.cpus_per_trial}, "
            f"gpus_per_trial={gpus}."
        )
    return gpus


def _progress(result):
    if "epoch" not in result:
        return ()
    return (
        str(result["epoch"]),
        f"{result['error']:.2%}",
        f"{result['nc1']:.3g}",
        f"{result['val_accuracy']:.2%}",
    )


def _words(run):
    """What a run that has ended came to."""
    wrong = problem(run)
    if wrong:
        return f"stopped, {wrong}"
    errors = [
        f"{name} error {1 - accuracy:.2%}"
        for name, key in (("test", "val_nc_accuracy"), ("train", "nc_accuracy"))
        if (accuracy := value(run, key, END)) is not None
    ]
    # Not finite where the class means coincide.
    nc1 = value(run, "nc1", END)
    numbers = [*errors, "NC1 –" if nc1 is None else f"NC1 {nc1:.3g}"]
    return ", ".join([*numbers, f"{run['seconds']:.0f} s"])


def _reason(trial):
    """The last line of what ended a trial of Ray's."""
    path = pathlib.Path(trial.pickled_error_file or "")
    if not path.is_file():
        return "Ray does not say why"
    error = pickle.loads(path.read_bytes())
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process died, for lack of memory or with its machine"
    return _last_line(getattr(error, "cause", None) or error)


def _last_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1]
