import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where trials run, and what each of them takes."""

    address: str | None = None
    """A Ray cluster, HOST:PORT, or auto for the one that this machine is of.
    Defaults to this machine alone."""

    cpus_per_trial: int = 1
    """CPU cores of a trial, and its number of threads."""

    gpus_per_trial: float | None = None
    """The share of a GPU that a trial takes, in (0, 1]. Defaults to a whole
    one where there is any."""

    def __post_init__(self):
        if self.address is not None and not re.fullmatch(
            r"auto|[^/]+:\d{1,5}", self.address
        ):
            raise ValueError(
                "`address` must be HOST:PORT, or auto. "
                f"Received: address={self.address!r}."
            )
        if self.cpus_per_trial < 1:
            raise ValueError(
                "`cpus_per_trial` must be 1 or more. "
                f"Received: cpus_per_trial={self.cpus_per_trial}."
            )
        share = self.gpus_per_trial
        if share is not None and not 0 < share <= 1:
            raise ValueError(
                "`gpus_per_trial` is the share of a GPU, in (0, 1]. "
                f"Received: gpus_per_trial={share}."
            )
