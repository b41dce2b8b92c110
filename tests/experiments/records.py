"""Records of comparisons that never ran, with numbers chosen by hand."""

import copy
import math

EPOCHS = (1, 2, 3, 5, 8, 12, 20, 30, 35)
ZERO = 12

# NC1 at the end, and test accuracy at zero error and at the end.
ENDS = {
    "linear": (0.010, 0.90, 0.91),
    "etf": (0.005, 0.89, 0.92),
    "etf_dim_c": (0.006, 0.88, 0.90),
    "weight_norm": (0.020, 0.90, 0.905),
}
PARAMETERS = {
    "linear": 1000,
    "etf": 900,
    "etf_dim_c": 750,
    "weight_norm": 1010,
}


def row(epoch, head, seed):
    nc1, zero, end = ENDS[head]
    past = math.log(epoch) / math.log(EPOCHS[-1])
    late = max(0.0, (epoch - ZERO) / (EPOCHS[-1] - ZERO))
    accuracy = zero + (end - zero) * late if epoch >= ZERO else zero * past
    away = 1.0 - 0.8 * past
    fixed = head.startswith("etf")
    values = {
        "epoch": epoch,
        "loss": 2.0 * away,
        "nc_accuracy": 1.0 if epoch >= ZERO else 0.5 + 0.45 * past,
        "val_nc_accuracy": accuracy + 0.001 * seed,
        "nc1": nc1 * (40.0 ** (1 - past)) * (1 + 0.1 * seed),
        "nc3": 0.4 * away + 0.2 * fixed,
        "nc4": 0.0 if epoch >= ZERO else 0.1 * away,
        "val_nc4": 0.1 * away + 0.001 * seed,
    }
    for name in ("equinorm", "equiangular", "max_angle"):
        wide = 1 + 0.15 * list(ENDS).index(head)
        values[f"nc2_{name}_means"] = (0.2 + 0.02 * seed) * away * wide
        values[f"nc2_{name}_weights"] = 3e-9 if fixed else 0.1 * away * wide
    return values


def run(loss="ce", head="linear", seed=0, last=EPOCHS[-1]):
    measured = [row(epoch, head, seed) for epoch in EPOCHS if epoch <= last]
    terminal = next((r for r in measured if r["epoch"] >= ZERO), None)
    epochs = [r["epoch"] for r in measured]
    return {
        "loss": loss,
        "head": head,
        "seed": seed,
        "folder": f"{loss}/{head}/seed{seed}",
        "feature_dim": 32,
        "parameters": 1100,
        "trainable_parameters": PARAMETERS[head],
        "state_bytes": 2_000_000,
        "epochs": last,
        "seconds": 70.0,
        "seconds_per_epoch": 2.0 + 0.1 * seed,
        "terminal_epoch": terminal and terminal["epoch"],
        "failure": None,
        "first": measured[0],
        "at_terminal_epoch": terminal,
        "last": measured[-1],
        "measured": measured,
        "robustness": [
            {"epoch": epoch, "deepfool": 0.02 + 0.001 * epoch + 0.001 * seed}
            for epoch in (1, ZERO, EPOCHS[-1])
            if epoch in epochs
        ],
    }


def record(losses=("ce",), heads=("linear", "etf"), seeds=(0, 1, 2)):
    """A whole comparison; its rows may be changed without side effects."""
    made = {
        "title": "digits, conv_net",
        "settings": {
            "dataset": "digits",
            "network": "conv_net",
            "widths": [32, 64],
            "heads": list(heads),
            "epochs": EPOCHS[-1],
            "batch_size": 64,
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.005,
            "per_class": None,
            "threshold": 0.999,
            "output": None,
        },
        "scale": {"epochs": 35, "protocol_epochs": 350},
        "machine": {
            "processor": "A processor",
            "cores": 2,
            "python": "3.11.2",
            "backend": "tensorflow",
            "keras": "3.15.1",
            "device": "cpu",
        },
        "data": {"train": 1347, "test": 450, "classes": 10, "per_class": None},
        "published": [
            {
                "what": "ResNet18 on MNIST, test accuracy, %",
                "value": "99.32 → 99.71",
                "source": "Papyan et al. 2020, Table 1",
            }
        ],
        "interrupted": False,
        "runs": [
            run(loss, head, seed)
            for loss in losses
            for head in heads
            for seed in seeds
        ],
    }
    return copy.deepcopy(made)


def never_vanished(run):
    """Makes a run one whose training error stayed above zero."""
    run["terminal_epoch"] = run["at_terminal_epoch"] = None
    for measured in run["measured"]:
        measured["nc_accuracy"] = min(measured["nc_accuracy"], 0.97)
    return run


LOSSES = ("ce", "mse", "rescaled_square")
HEADS = tuple(ENDS)
