"""Wrong arguments end in a value or in words, whatever is passed."""

import functools

import keras
import numpy as np
import pytest

import nc_keras
from nc_keras import geometry
from nc_keras import metrics
from nc_keras import theory
from nc_keras.metrics import ClassStatistics
from nc_keras.metrics import hulls
from nc_keras.metrics import neco
from nc_keras.metrics import softmax_code

Y = np.arange(12) % 3
H = np.random.default_rng(0).normal(size=(12, 4)) + np.eye(3, 4)[Y]
W = np.random.default_rng(1).normal(size=(4, 3))
X = np.random.default_rng(2).normal(size=(12, 6, 6, 1)).astype("float32")
DECAYS = {
    "num_classes": 3,
    "examples": 4,
    "weight_decay": 1e-3,
    "feature_decay": 1e-3,
}
STEPS = {"learning_rate": 0.1, "weight_decay": 0.01, "epsilon": 1e-3}


def dense():
    layers = [keras.layers.Dense(3, use_bias=False)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("sgd", loss="mse")
    return model


def calls():
    """Public functions, and arguments with which they have a value."""
    statistics = ClassStatistics.from_features(H, Y)
    free = theory.unconstrained_features
    flow = {"features": H, "labels": Y, "times": [0.0, 0.1]}
    square = {"outputs": H[:, :3], "targets": np.eye(3)[Y], "decay": 0.1}
    bound = {
        "model": nc_keras.models.HomogeneousNet((6, 6, 1), 3, filters=(2,)),
        "x": X,
        "delta": 0.01,
    }
    inputs = {k: v for k, v in bound.items() if k != "delta"}
    return [
        (free.cross_entropy, {**DECAYS, "label_smoothing": 0.1}),
        (free.focal, {**DECAYS, "gamma": 2.0}),
        (
            free.mean_squared_error,
            {**DECAYS, "bias_decay": 0.0, "target": 1.0},
        ),
        (theory.low_rank.memory, {**STEPS, "momentum": 0.9}),
        (theory.low_rank.rank_bound, {"batch_size": 4, **STEPS}),
        (theory.square_loss.rho_rate, {"rho": 1.0, **square}),
        (theory.square_loss.equilibrium_rho, square),
        (theory.square_loss.stationarity, {"norms": [1.0, 2.0], **square}),
        (
            theory.square_loss.normalized_margins,
            {"outputs": H[:, :3], "labels": Y, "rho": 2.0},
        ),
        (theory.square_loss.one_hot, {"y": Y, "width": 3}),
        (
            theory.square_loss.flow,
            {"model": dense(), "x": H, "y": Y, "times": [0.1], "decay": 0.1},
        ),
        (theory.central_path.snr, {"statistics": statistics}),
        (
            theory.central_path.predicted_snr,
            {
                "initial": [0.5, 1.0],
                "times": [0.0, 1.0],
                "num_classes": 3,
                "num_examples": 12,
            },
        ),
        (
            theory.central_path.fit_time_scale,
            {
                "times": [0.0, 1.0],
                "snr": [[0.5, 1.0], [0.6, 1.1]],
                "num_classes": 3,
                "num_examples": 12,
            },
        ),
        (theory.central_path.renormalized_flow, flow),
        (theory.central_path.gradient_flow, flow),
        (theory.bounds.convolutional, bound),
        (theory.bounds.fully_connected, bound),
        (theory.bounds.spectral, bound),
        (theory.bounds.inputs_of, {**inputs, "batch_size": 8}),
        (
            theory.bounds.errors_of,
            {"model": dense(), "data": (H, Y), "batch_size": 8},
        ),
        (
            theory.bounds.compare,
            {"model": bound["model"], "train": (X, Y), "test": (X, Y)},
        ),
        (
            metrics.collapse_metrics,
            {
                "features": H,
                "labels": Y,
                "kernel": W,
                "bias": np.zeros(3),
                "num_classes": 3,
                "train_means": H[:3],
                "train_counts": [4, 4, 4],
                "missing": "raise",
                "metrics": "all",
                "ood": H,
                "pairs": 2,
            },
        ),
        (
            metrics.metrics_from_statistics,
            {"statistics": statistics, "kernel": W, "missing": "skip"},
        ),
        (
            metrics.mse_decomposition,
            {"features": H, "labels": Y, "kernel": W, "bias": None, "decay": 0},
        ),
        (metrics.equivalent_decay, {"model": dense()}),
        (
            neco.neco_scores,
            {"features": H, "statistics": statistics, "dim": 2},
        ),
        (neco.auroc, {"id_scores": H, "ood_scores": W}),
        (
            neco.false_positive_rate,
            {"id_scores": H, "ood_scores": W, "recall": 0.9},
        ),
        (softmax_code.one_vs_rest_margin, {"vectors": H[:3]}),
        (
            softmax_code.optimal_one_vs_rest_margin,
            {"num_classes": 3, "dim": 4},
        ),
        (
            hulls.distance_to_hull,
            {"point": H[0], "vertices": H[1:4]},
        ),
        (ClassStatistics.empty, {"num_classes": 3, "dim": 4}),
        (
            ClassStatistics.from_features,
            {"features": H, "labels": Y, "num_classes": 3},
        ),
        (statistics.merge, {"other": statistics}),
        (metrics.CollapseMetric, {"num_classes": 3}),
        (metrics.RunningStatistics, {"num_classes": 3, "dim": 4}),
        (geometry.simplex_etf, {"num_classes": 3, "dim": 4, "seed": 0}),
        (geometry.simplex_gram, {"num_classes": 3}),
        (geometry.cosines, {"vectors": H}),
        (theory.layer_peeled, {"counts": [4, 2, 2], "e_w": 1.0, "e_h": 5.0}),
        (
            theory.minority_threshold,
            {"majority": 2, "minority": 2, "e_w": 1.0, "e_h": 2.0},
        ),
        (theory.seli, {"counts": [4, 2, 2]}),
        (metrics.group_means, {"values": [0.5, 1.0], "groups": {"a": [1]}}),
        (nc_keras.layers.Rho, {"initial_value": 1.0, "decay": 0.1}),
        (
            nc_keras.layers.ETFClassifier,
            {"num_classes": 3, "scale": 1.0, "seed": 0},
        ),
        (nc_keras.layers.CosineClassifier, {"num_classes": 3, "scale": 1.0}),
        (
            nc_keras.layers.NearestETFClassifier,
            {
                "num_classes": 3,
                "scale": 1.0,
                "seed": 0,
                "momentum": 0.9,
                "proximal": 0.1,
            },
        ),
        (theory.nearest_etf, {"means": H[:3]}),
        (
            nc_keras.losses.class_balanced_weights,
            {"counts": [4, 2, 2], "beta": 0.9},
        ),
        (free.cross_entropy, {**DECAYS, "examples": [4, 2, 2]}),
        (free.binary_cross_entropy, DECAYS),
        (nc_keras.losses.NormFace, {"temperature": 0.1}),
        (nc_keras.losses.BCE, {"targets": "multi_hot"}),
        (
            nc_keras.few_shot,
            {
                "features": H,
                "labels": Y,
                "ways": 2,
                "shots": 1,
                "queries": 2,
                "episodes": 5,
                "transform": "centered_l2",
                "base_mean": H[0],
                "seed": 0,
            },
        ),
        (nc_keras.few_shot.prototypes, {"features": H, "labels": Y}),
        (
            nc_keras.adversarial.collapse_of_perturbed,
            {
                "features": H,
                "perturbed": H + 0.1,
                "labels": Y,
                "kernel": W,
                "bias": np.zeros(3),
            },
        ),
        (
            nc_keras.ordinal.collapse_metrics,
            {
                "features": H,
                "labels": Y,
                "kernel": W[:, :1],
                "thresholds": np.array([-1.0, 1.0]),
            },
        ),
        (
            nc_keras.multi_label.collapse_of_sets,
            {
                "features": H,
                "labels": np.eye(3)[Y],
                "kernel": W,
                "bias": np.zeros(3),
            },
        ),
        (
            nc_keras.regression.collapse_metrics,
            {"features": H, "kernel": W, "targets": H[:, :3]},
        ),
        (
            nc_keras.regression.report,
            {"model": dense(), "train": (H, H[:, :3]), "head": None},
        ),
        (
            nc_keras.regression.measure,
            {"model": dense(), "x": H, "targets": H[:, :3]},
        ),
        (
            theory.regression,
            {"targets": H, "weight_decay": 0.1, "feature_decay": 0.1},
        ),
        (nc_keras.forgetting.events_of, {"correct": np.eye(3)}),
        (nc_keras.scores.overlap_score, {"bits": np.eye(3)}),
        (nc_keras.codes.Codes.of, {"bits": np.eye(3)}),
        (
            metrics.class_pairs.class_pairs,
            {"labels": Y, "decisions": Y, "num_classes": 3},
        ),
        (
            metrics.class_pairs.expected_cost,
            {"pairs": np.eye(3), "costs": np.eye(3)},
        ),
        (metrics.roc.average_precision, {"id_scores": H, "ood_scores": W}),
        (metrics.roc.curve, {"id_scores": H, "ood_scores": W}),
        (metrics.ood_scores.energy, {"logits": H}),
        (
            metrics.ood_scores.nci,
            {"features": H, "kernel": W, "bias": None, "mean": H[0]},
        ),
        (
            metrics.ood_scores.ViM,
            {"statistics": statistics, "kernel": W, "bias": None, "dim": 2},
        ),
        (metrics.ood_scores.Mahalanobis, {"statistics": statistics}),
    ]


WRONG = (
    lambda: None,
    lambda: "three",
    lambda: b"3",
    lambda: object(),
    lambda: {},
    lambda: {"a": 1},
    lambda: [],
    lambda: [[]],
    lambda: [[1.0], [1.0, 2.0]],
    lambda: ["a", "b"],
    lambda: [None],
    lambda: (1.0, "x"),
    lambda: 0,
    lambda: 0.0,
    lambda: 1,
    lambda: -1,
    lambda: -0.5,
    lambda: 2.5,
    lambda: 1e308,
    lambda: 10**400,
    lambda: 5e-324,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: 1 + 2j,
    lambda: True,
    lambda: np.zeros(0),
    lambda: np.zeros((0, 4)),
    lambda: np.zeros((3, 0)),
    lambda: np.array(2.0),
    lambda: np.zeros((3, 4)),
    lambda: np.ones((12, 4)),
    lambda: np.full((12, 4), np.nan),
    lambda: np.zeros((2, 3, 4)),
    lambda: np.arange(12),
    lambda: np.array(["a", "b"]),
    lambda: np.array([None, 1], dtype=object),
    lambda: np.ma.masked_less(np.arange(12.0), 3),
    lambda: keras.Sequential(),
    lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
    lambda: keras.Sequential([keras.Input((4,)), keras.layers.Flatten()]),
    lambda: keras.layers.Dense(3),
    lambda: keras.losses.MeanSquaredError(),
    lambda: ClassStatistics.empty(3, 4),
    lambda: (x for x in ()),
    lambda: lambda x: x,
)


@functools.cache
def functions():
    return calls()


@pytest.mark.parametrize("index", range(len(calls())))
def test_a_wrong_argument_gives_a_value_or_words(index):
    function, right = functions()[index]
    function(**right)
    cases = [(name, k) for name in right for k in range(len(WRONG))]
    rng = np.random.default_rng(index)
    for case in rng.permutation(len(cases))[:15]:
        name, k = cases[case]
        wrong = WRONG[k]()
        try:
            with np.errstate(all="ignore"):
                function(**{**right, name: wrong})
        except (ValueError, TypeError) as error:
            # Keras says "found" of data that it does not take.
            words = str(error).lower()
            assert "received" in words or "found" in words, (name, wrong)
            assert "ambiguous" not in words, (name, wrong)
