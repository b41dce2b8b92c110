"""The papers' figures 2 to 8, and what each of them shows."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

# The parts of a figure, each with a style of its own.
MEANS, WEIGHTS = "class means", "head's weights"
TRAIN, TEST = "training data", "test data"


@dataclasses.dataclass(frozen=True)
class Panel:
    """One of the papers' figures.

    Attributes:
        name: String, its key in `plot_figures`.
        figure: String, its number in the paper; empty if it has none.
        title: String, what it shows.
        label: String, its vertical axis.
        caption: String, the formula and where it comes from.
        lines: For each part, "" if there is one, the key in the record.
        scale: String, "linear" from zero on, "log" or "free".
        transform: Function of a value of the record.
    """

    name: str
    figure: str
    title: str
    label: str
    caption: str
    lines: Mapping[str, str]
    scale: str = "linear"
    transform: Callable[[float], float] = lambda value: value

    @property
    def heading(self) -> str:
        """Number and title."""
        return f"{self.figure}  {self.title}".strip()


def _both(name):
    return {MEANS: f"nc2_{name}_means", WEIGHTS: f"nc2_{name}_weights"}


PANELS = (
    Panel(
        "training_error",
        "",
        "Training error",
        "training error, %",
        "Share of the training images that the network gets wrong in "
        "inference mode. The terminal phase begins where it vanishes.",
        {"": "nc_accuracy"},
        "log",
        lambda accuracy: 100 * (1 - accuracy),
    ),
    Panel(
        "test_accuracy",
        "",
        "Test accuracy",
        "test accuracy, %",
        "Share of the test images that the network gets right; Papyan et al. "
        "2020 tabulate it at zero training error and at the end, in Table 1. "
        "The axis begins at the smallest value of the second half of the "
        "measurements.",
        {"": "val_nc_accuracy"},
        transform=lambda accuracy: 100 * accuracy,
    ),
    Panel(
        "equinorm",
        "Fig. 2",
        "Lengths become equal",
        "std / mean of the norms",
        "NC2 equinorm: std over c of ‖μ_c − μ_G‖ divided by their mean, and "
        "the same of the head's rows w_c. Papyan et al. 2020, Figure 2.",
        _both("equinorm"),
    ),
    Panel(
        "equiangular",
        "Fig. 3",
        "Angles become equal",
        "std of the cosines",
        "NC2 equiangular: std over c ≠ c' of cos(μ_c − μ_G, μ_c' − μ_G), and "
        "of cos(w_c, w_c'). Papyan et al. 2020, Figure 3.",
        _both("equiangular"),
    ),
    Panel(
        "max_angle",
        "Fig. 4",
        "Angles become as large as can be",
        "mean |cos + 1/(C−1)|",
        "NC2 maximal angle: mean over c ≠ c' of |cos + 1/(C − 1)|, for the "
        "centred class means and the head's rows. Papyan et al. 2020, "
        "Figure 4.",
        _both("max_angle"),
    ),
    Panel(
        "self_duality",
        "Fig. 5",
        "Head and means align",
        "NC3",
        "NC3 self-duality: ‖W/‖W‖ − M/‖M‖‖² in the Frobenius norm, M the "
        "centred class means. Papyan et al. 2020, Figure 5.",
        {"": "nc3"},
    ),
    Panel(
        "variability",
        "Fig. 6",
        "Features collapse to their means",
        "NC1",
        "NC1 variability: tr(Σ_W Σ_B⁺) / C over the training images. Papyan "
        "et al. 2020, Figure 6.",
        {"": "nc1"},
        "log",
    ),
    Panel(
        "nearest_mean",
        "Fig. 7",
        "The nearest class mean decides",
        "NC4, test images",
        "NC4 on test images: share where argmax(W h + b) is not the class of "
        "the nearest training mean. Papyan et al. 2020, Figure 7.",
        {"": "val_nc4"},
    ),
    Panel(
        "robustness",
        "Fig. 8",
        "Robustness",
        "mean ‖r(x)‖ / ‖x‖",
        "DeepFool: mean over test images of ‖r(x)‖₂ / ‖x‖₂, r(x) the "
        "perturbation found that changes the decision; larger is more "
        "robust. Papyan et al. 2020, Figure 8.",
        {"": "deepfool"},
    ),
)


def panels_of(record: Mapping[str, Any]) -> tuple[Panel, ...]:
    """The papers' figures, and one for each metric of the user's own.

    Args:
        record: The content of a comparison's `results.json`.
    """
    return *PANELS, *(
        Panel(
            f"metric_{number}",
            "",
            tag,
            tag,
            f"The metric {tag}, of training and test data, which was asked "
            "for beside the papers'.",
            {TRAIN: tag, TEST: f"val_{tag}"},
            "free",
        )
        for number, tag in enumerate(record.get("metrics") or ())
    )
