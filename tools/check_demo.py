"""Sees that a demo ended as the README promises.

python -m tools.check_demo runs/digits-conv_net
"""

import json
import operator
import pathlib
import sys

# Another processor rounds otherwise, which is like another seed: bounds have
# room for what seeds differ by (a test image is 0.22 points).
_MOST_NC2 = {"linear": 0.06, "etf_dim_c": 0.02}


def broken(record: dict) -> list[str]:
    """Returns which promises the runs of a demo do not keep.

    Args:
        record: The content of its `results.json`.
    """
    found = []
    heads = {run["head"] for run in record["runs"]}
    if heads != set(_MOST_NC2):
        found.append(f"the heads are {sorted(heads)}")
    for run in record["runs"]:
        if run["head"] not in _MOST_NC2:
            continue
        zero, first, last = run["terminal_epoch"], run["first"], run["last"]
        most = _MOST_NC2[run["head"]]
        for what, value, holds, bound in (
            ("epoch of zero error", zero or 10**9, operator.le, 50),
            ("train accuracy", last["nc_accuracy"], operator.eq, 1),
            ("test accuracy", last["val_nc_accuracy"], operator.gt, 0.985),
            ("fall of NC1", first["nc1"] / last["nc1"], operator.ge, 40),
            ("NC1", last["nc1"], operator.lt, 0.006),
            ("NC2", last["nc2_equiangular_means"], operator.lt, most),
            ("NC3", last["nc3"], operator.lt, 0.01),
        ):
            if not holds(value, bound):
                found.append(
                    f"{run['head']}: {what} is {value:.4g}, to be "
                    f"{holds.__name__} {bound}"
                )
    return found


def main() -> None:
    """Reads a folder, and exits with 1 if a promise is broken."""
    folder = pathlib.Path(sys.argv[1])
    found = broken(json.loads((folder / "results.json").read_text()))
    print(*found or ["The demo ended as promised."], sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
