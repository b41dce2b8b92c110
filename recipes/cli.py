"""The command line that every recipe shares."""

import os
import sys

import tyro

from recipes.settings import Settings


def main(default: Settings, description: str) -> None:
    """Trains every head, then prints the table and says where to look.

    Args:
        default: The recipe's settings; each is an option of the command.
        description: String, the text of `--help`.
    """
    settings = tyro.cli(Settings, default=default, description=description)
    # Quiet, and before Keras loads its backend.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        sys.exit(run(settings))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(settings: Settings) -> int:
    """Runs a recipe.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.
    """
    from nc_keras.writers.files import writable_directory
    from recipes import datasets
    from recipes.plots import plot_curves
    from recipes.results import print_table
    from recipes.results import read_result
    from recipes.results import write_results
    from recipes.training import train

    writable_directory(settings.folder)
    dataset = datasets.load(settings.dataset, settings.data_dir)
    if settings.per_class:
        dataset = datasets.take(dataset, settings.per_class, settings.seed)
    dataset = dataset.standardized()
    results, interrupted = {}, False
    for head in settings.heads:
        try:
            train(settings, head, dataset)
        except KeyboardInterrupt:
            interrupted = True
        result = read_result(settings.folder / head)
        if result is not None:
            results[head] = result
        if interrupted:
            break
    if not results:
        print("Interrupted before the first epoch ended: there is no result.")
        return 130
    print_table(settings, results)
    record = write_results(settings, results, interrupted)
    plot = settings.folder / "curves.png"
    title = f"{settings.dataset}, {settings.network}, {settings.loss}"
    plot_curves(plot, title, results)
    print(f"plot     {plot}")
    print(f"results  {record}")
    print(f"panels   tensorboard --logdir {settings.folder}")
    if interrupted:
        print("Interrupted: these are the results up to the last epoch.")
    return 130 if interrupted else 0
