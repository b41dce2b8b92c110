"""What every recipe does: train each head, compare, say where to look."""

from nc_keras.writers.files import writable_directory
from recipes import datasets
from recipes.plots import plot_curves
from recipes.results import print_table
from recipes.results import read_result
from recipes.results import write_results
from recipes.settings import Settings
from recipes.training import train


def run(settings: Settings) -> int:
    """Runs a recipe.

    Returns:
        The exit status: 0, or 130 after Ctrl-C, or 1 if there is no result.
    """
    writable_directory(settings.folder)
    dataset = prepare(settings)
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
    if results:
        report(settings, results, interrupted)
    else:
        print("There is no result: no head has finished an epoch.")
    return 130 if interrupted else int(not results)


def prepare(settings: Settings) -> datasets.Dataset:
    """Loads the data set, standardised, or a balanced part of it."""
    dataset = datasets.load(settings.dataset, settings.data_dir)
    if settings.per_class is not None:
        dataset = datasets.take(dataset, settings.per_class, settings.seed)
    return dataset.standardized()


def report(settings: Settings, results: dict, interrupted: bool) -> None:
    """Prints the table, writes record and plot, and says where they are."""
    print_table(settings, results)
    record = write_results(settings, results, interrupted)
    plot = settings.folder / "curves.png"
    plot_curves(plot, settings.title, results)
    print(f"plot     {plot}")
    print(f"results  {record}")
    print(f"panels   tensorboard --logdir {settings.folder}")
    for head, result in results.items():
        finished = result.rows[-1]["epoch"]
        if finished < settings.epochs:
            cause = "interrupted" if interrupted else "stopped"
            print(f"{head} head: {cause} at epoch {finished + 1}")
