"""The results that the documents quote: how each is made.

`bench_classes` runs beside a library that is not ours: clone
https://github.com/rhubarbwu/neural-collapse into `runs/neural-collapse` first.
"""

import dataclasses
import importlib
import shlex
from collections.abc import Sequence
from typing import Any

from nc_keras.experiments.command import cli
from nc_keras.experiments.options import study
from nc_keras.experiments.options.settings import SHOWN
from nc_keras.experiments.options.settings import Settings
from recipes import compare
from recipes import sweep
from recipes.compare import RECIPES

# What may be another where a result is made again.
_FREE = (
    *("data_dir", "output", "progress", "learning_rate", "name"),
    *SHOWN,
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A result, and the command that makes it.

    Attributes:
        name: String, its name and that of its folder in `runs/results`.
        command: String, the module and its options, without `--output`.
        golden: Cases of `tools.golden` that train as it does; none where
            nothing is trained.
        figure: String, the picture that documents show of it, if any.
        backend: String, the backend that it is made on.
    """

    name: str
    command: str
    golden: tuple[str, ...]
    figure: str | None = None
    backend: str = "jax"

    @property
    def is_timed(self) -> bool:
        """Whether it is a benchmark, of which nothing is trained."""
        return self.command.startswith("tools.")

    @property
    def words(self) -> list[str]:
        """The words after `python -m`."""
        return shlex.split(self.command)

    def settings(self) -> dict[str, Any]:
        """Returns the settings that the command has today."""
        if self.is_timed:
            return {"command": self.command}
        module, *options = self.words
        plain = _parsed(module.removeprefix("recipes."), options).plain()
        return {k: v for k, v in plain.items() if k not in _FREE}


_MLP = ("mlp-ce-linear", "mlp-mse-etf_dim_c")
_CONV_NET = ("conv_net-ce-weight_norm", "conv_net-rescaled_square-etf")
_HEADS = "--heads linear etf_dim_c etf etf_canonical weight_norm"

RESULTS = {
    result.name: result
    for result in (
        Result(
            "digits",
            "recipes.digits --heads linear etf_dim_c etf --seeds 0 1 2",
            _CONV_NET,
            "curves.png",
            "tensorflow",
        ),
        Result(
            "digits_sweep",
            "recipes.sweep digits --network mlp --fraction 0.15",
            _MLP,
            "sweep.png",
        ),
        Result(
            "mnist_mlp",
            "recipes.mnist --network mlp --epochs 40 " + _HEADS,
            _MLP,
            "curves.png",
        ),
        Result(
            "mnist_conv_net",
            "recipes.mnist --network conv_net --widths 16 64 128 256 "
            "--epochs 15 --measurements 10 " + _HEADS,
            _CONV_NET,
            "curves.png",
            backend="tensorflow",
        ),
        Result(
            "mnist_resnet18",
            "recipes.mnist --widths 8 --per-class 200 --test-images 1000 "
            "--epochs 40 --measurements 8 --deepfool 20",
            _CONV_NET,
            backend="tensorflow",
        ),
        Result(
            "fashion_mnist_mlp",
            "recipes.fashion_mnist_mlp --heads linear etf_dim_c etf",
            _MLP,
            "curves.png",
        ),
        Result(
            "heads_and_losses",
            "recipes.compare fashion_mnist_mlp --per-class 200 --epochs 80 "
            "--batch-size 64 --weight-decay 5e-4 --measurements 12 "
            "--test-images 5000 --deepfool 50",
            _MLP,
            "curves.png",
        ),
        Result("parity", "recipes.studies.parity", _MLP),
        Result(
            "central_path", "recipes.studies.central_path", _MLP, "figure.png"
        ),
        Result(
            "unconstrained_features",
            "recipes.studies.unconstrained_features",
            ("mlp-ce-linear", "mlp-mse-etf_dim_c", "weight_decay"),
        ),
        Result(
            "weight_decay",
            "recipes.studies.weight_decay",
            ("weight_decay",),
            "figure.png",
        ),
        Result(
            "low_rank",
            "recipes.studies.low_rank",
            ("weight_decay",),
            "figure.png",
        ),
        Result(
            "sgd_noise",
            "recipes.studies.sgd_noise",
            ("weight_decay",),
            "figure.png",
        ),
        Result("bounds", "recipes.studies.bounds", ("bounds",), "figure.png"),
        Result("spectrum", "recipes.studies.spectrum", _MLP, "figure.png"),
        Result(
            "kernel_collapse",
            "recipes.studies.kernel_collapse",
            _MLP,
            "figure.png",
        ),
        Result(
            "kernel_collapse_fashion_mnist",
            "recipes.studies.kernel_collapse --dataset fashion_mnist "
            "--per-class 500 --widths 256 256",
            _MLP,
        ),
        Result(
            "layer_peeled", "recipes.studies.layer_peeled", (), "figure.png"
        ),
        Result(
            "minority_collapse",
            "recipes.studies.minority_collapse",
            ("minority_collapse",),
            "figure.png",
        ),
        Result(
            "minority_networks",
            "recipes.studies.minority_networks",
            _CONV_NET,
            "figure.png",
            backend="tensorflow",
        ),
        Result(
            "unequal_classes",
            "recipes.compare fashion_mnist_mlp --imbalance step --ratio 100 "
            "--per-class 500 --test-images 5000 --epochs 60 --measurements 6 "
            "--deepfool 0 --heads linear weight_norm etf nearest_etf "
            "--losses ce logit_adjusted vs ldam dot_regression mse",
            ("unequal", *_MLP),
        ),
        Result(
            "without_batch_norm",
            "recipes.studies.without_batch_norm",
            ("without_batch_norm", *_CONV_NET),
            "figure.png",
            backend="tensorflow",
        ),
        Result(
            "without_batch_norm_fashion_mnist",
            "recipes.studies.without_batch_norm --dataset fashion_mnist "
            "--per-class 100 --test-images 2000 --learning-rate 0.03 "
            "--losses ce",
            ("without_batch_norm", *_CONV_NET),
            backend="tensorflow",
        ),
        Result(
            "optimizers",
            "recipes.studies.optimizers",
            ("optimizers",),
            "figure.png",
        ),
        Result(
            "optimizers_mnist",
            "recipes.studies.optimizers --dataset mnist --per-class 500 "
            "--test-images 2000",
            ("optimizers",),
        ),
        Result(
            "direct_feedback",
            "recipes.studies.direct_feedback",
            ("direct_feedback",),
            "figure.png",
        ),
        Result(
            "forgetting",
            "recipes.studies.forgetting",
            ("forgetting",),
            "figure.png",
        ),
        *(
            Result(
                f"forgetting_seed_{seed}",
                f"recipes.studies.forgetting --seed {seed}",
                ("forgetting",),
            )
            for seed in (1, 2)
        ),
        Result(
            "neural_codes",
            "recipes.studies.neural_codes",
            _MLP,
            "figure.png",
        ),
        Result(
            "few_shot",
            "recipes.studies.few_shot",
            ("few_shot",),
            "figure.png",
            backend="tensorflow",
        ),
        Result(
            "finite_infinite",
            "recipes.studies.finite_infinite",
            _MLP,
            "figure.png",
        ),
        Result(
            "finite_infinite_fashion_mnist",
            "recipes.studies.finite_infinite --dataset fashion_mnist "
            "--test-images 2000",
            _MLP,
        ),
        Result(
            "bench_forward",
            "tools.bench_measure forward --networks conv_net mlp "
            "--images 10000",
            (),
            backend="tensorflow",
        ),
        Result(
            "bench_forward_jax",
            "tools.bench_measure forward --networks conv_net mlp "
            "--images 10000",
            (),
        ),
        Result(
            "bench_evaluated",
            "tools.bench_measure evaluated --networks conv_net mlp "
            "--images 10000",
            (),
            backend="tensorflow",
        ),
        Result(
            "bench_callbacks",
            "tools.bench_callbacks",
            (),
            backend="tensorflow",
        ),
        Result(
            "bench_classes",
            "tools.bench_measure classes --classes 100 1000 10000 100000 "
            "--peer-classes 1000 "
            "--peer runs/neural-collapse",
            (),
        ),
        Result("bench_features", "tools.bench_measure features", ()),
        Result("bench_margins", "tools.bench_measure margins", ()),
        Result(
            "bench_train",
            "tools.bench_train --networks mlp conv_net "
            "--backends tensorflow jax torch",
            (),
        ),
    )
}


def made_with(backend: str, case: str) -> list[str]:
    """Returns which results are stale when a trajectory moves."""
    return [
        name
        for name, result in RESULTS.items()
        if result.backend == backend and case in result.golden
    ]


def _parsed(name: str, options: Sequence[str]) -> Any:
    """What the command line makes of its options."""
    if name == "sweep":
        recipe, asked = sweep.parse(options[0], options[1:])
        return Settings(**vars(asked.settings)).settled(recipe)
    if name == "compare":
        return cli.parse(compare.settings_of(options[0]), "", options[1:])
    if name in RECIPES:
        return cli.parse(RECIPES[name], "", options)
    module = importlib.import_module(f"recipes.{name}")
    return study.parse(module.STUDY, "", options)
