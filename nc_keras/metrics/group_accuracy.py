"""Accuracy where classes are not alike: each class counts the same.

Groups are by the training examples per class, whatever the measured set.
"""

from nc_keras.measuring.registry import metric
from nc_keras.metrics import class_groups
from nc_keras.metrics.accuracy import accuracy


def _of_group(tag, is_member, members, source=""):
    """Registers the mean of the accuracies of the classes of a group."""

    def reduce(layer, accuracies):
        chosen = is_member(layer.class_sizes)
        if layer.classes is not None:
            chosen = chosen[layer.classes]
        return class_groups.mean_or_nan(accuracies[chosen])

    metric(
        tag,
        "kernel",
        "class_sizes",
        over="examples",
        reduce=reduce,
        default=False,
        group="Imbalance",
        title="accuracy by the size of classes",
        note=members,
        formula=f"mean accuracy of classes: {members}",
        goal="1",
        source=source,
    )(accuracy)


metric(
    "balanced_accuracy",
    "kernel",
    over="examples",
    reduce=lambda layer, accuracies: accuracies.mean(),
    default=False,
    group="Imbalance",
    title="accuracy by the size of classes",
    note="mean of class accuracies",
    formula="mean over the classes of their accuracies",
    goal="1",
)(accuracy)
_of_group(
    "accuracy_majority",
    lambda sizes: ~class_groups.minority(sizes),
    "frequent classes",
)
_of_group("accuracy_minority", class_groups.minority, "rare classes")
_LT = "ImageNet-LT, as the code of classifier-balancing"
_of_group(
    "accuracy_many",
    lambda sizes: sizes > class_groups.MANY,
    f"over {class_groups.MANY} examples a class",
    _LT,
)
_of_group(
    "accuracy_medium",
    lambda sizes: (class_groups.FEW <= sizes) & (sizes <= class_groups.MANY),
    f"{class_groups.FEW} to {class_groups.MANY} examples a class",
    _LT,
)
_of_group(
    "accuracy_few",
    lambda sizes: sizes < class_groups.FEW,
    f"under {class_groups.FEW} examples a class",
    _LT,
)
