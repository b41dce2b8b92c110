"""The papers' figures, one line a head."""

import pathlib
from collections.abc import Mapping

import matplotlib

from nc_keras.writers.files import replace_atomically
from recipes.results import Result

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

# Title, axis scale, and for each line its key in the logs, style and label.
_MEANS, _HEAD = "-", "--"
_PANELS = (
    (
        "Fig. 2  equinorm: std / mean of norms",
        "linear",
        {"nc2_equinorm_means": _MEANS, "nc2_equinorm_weights": _HEAD},
    ),
    (
        "Fig. 3  equiangular: std of cosines",
        "linear",
        {"nc2_equiangular_means": _MEANS, "nc2_equiangular_weights": _HEAD},
    ),
    (
        "Fig. 4  max angle: mean |cos + 1/(C−1)|",
        "linear",
        {"nc2_max_angle_means": _MEANS, "nc2_max_angle_weights": _HEAD},
    ),
    ("Fig. 5  self-duality: NC3", "linear", {"nc3": _MEANS}),
    ("Fig. 6  variability: NC1", "log", {"nc1": _MEANS}),
    ("Fig. 7  nearest mean: NC4 on test images", "linear", {"val_nc4": _MEANS}),
)


def plot_curves(
    path: pathlib.Path, title: str, results: Mapping[str, Result]
) -> None:
    """Draws the quantities of Figures 2 to 7 of Papyan et al. 2020.

    Args:
        path: The PNG file.
        title: String, the title of the whole figure.
        results: For each head, its result.
    """
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.5), sharex=True)
    for axis, (name, scale, lines) in zip(axes.flat, _PANELS, strict=True):
        for color, result in enumerate(results.values()):
            for key, style in lines.items():
                axis.plot(
                    [row["epoch"] for row in result.measured],
                    [row[key] for row in result.measured],
                    style,
                    color=f"C{color}",
                )
            if result.terminal_epoch:
                axis.axvline(
                    result.terminal_epoch, color=f"C{color}", lw=1, alpha=0.4
                )
        axis.set_title(name, fontsize=10)
        axis.set(xscale="log", yscale=scale)
        if scale == "linear":
            axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("epoch")
    handles = [
        *(
            pyplot.Line2D([], [], color=f"C{color}", label=f"{head} head")
            for color, head in enumerate(results)
        ),
        pyplot.Line2D([], [], color="black", ls=_MEANS, label="class means"),
        pyplot.Line2D([], [], color="black", ls=_HEAD, label="head's weights"),
        pyplot.Line2D([], [], color="grey", lw=1, label="zero training error"),
    ]
    figure.legend(handles=handles, loc="lower center", ncol=len(handles))
    figure.suptitle(title)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    replace_atomically(path, lambda path: figure.savefig(path, dpi=110))
    pyplot.close(figure)
