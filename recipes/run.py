"""What every recipe does: train each run, compare, say where to look."""

from nc_keras.processes import is_first_process
from nc_keras.writers.files import writable_directory
from recipes import datasets
from recipes import devices
from recipes import training
from recipes.plots import plot_comparison
from recipes.report import write_report
from recipes.results import build_record
from recipes.results import claim_folder
from recipes.results import is_finished
from recipes.results import read_runs
from recipes.results import write_json
from recipes.settings import Settings
from recipes.summary import print_summary


def run(settings: Settings) -> int:
    """Runs a recipe.

    Returns:
        The exit status: 0, or 130 after Ctrl-C, or 1 if there is no result.
    """
    devices.connect()
    writable_directory(settings.folder)
    dataset = prepare(settings)
    if is_first_process():
        claim_folder(settings, dataset)
    interrupted = False
    try:
        for one in settings.runs:
            if is_finished(settings.folder / one.name) and is_first_process():
                print(f"{one.name}: finished before, not trained again")
            else:
                training.train(settings, one, dataset)
    except KeyboardInterrupt:
        interrupted = True
    if not is_first_process():
        return 130 if interrupted else 0
    runs = read_runs(settings)
    if any(result["measured"] for result in runs):
        report(settings, build_record(settings, dataset, runs, interrupted))
    else:
        print("There is no result: no run came to a measured epoch.")
    tell_unfinished(runs)
    return 130 if interrupted else int(not any(r["measured"] for r in runs))


def prepare(settings: Settings) -> datasets.Dataset | datasets.ImageStream:
    """Loads the data set, or a balanced part of it.

    Raises:
        ValueError: If a batch is larger than what is left.
    """
    dataset = datasets.load(settings.dataset, settings.data_dir)
    if settings.per_class is not None:
        dataset = datasets.take(dataset, settings.per_class)
    if settings.test_images is not None:
        dataset = datasets.take_test(dataset, settings.test_images)
    if settings.batch_size > dataset.num_train:
        raise ValueError(
            f"There are {dataset.num_train:,} training images. Choose a "
            "smaller batch. Received: "
            f"batch_size={settings.batch_size}."
        )
    return dataset


def report(settings: Settings, record: dict) -> None:
    """Prints the table, writes record, plot and page, says where they are."""
    print_summary(record)
    folder = settings.folder
    write_json(folder / "results.json", record)
    plot_comparison(folder / "curves.png", record)
    write_report(folder / "report.html", record)
    print(f"report   {folder / 'report.html'}")
    print(f"plot     {folder / 'curves.png'}")
    print(f"results  {folder / 'results.json'}")
    print(f"panels   tensorboard --logdir {folder}")


def tell_unfinished(runs: list[dict]) -> None:
    """Prints which runs came to no end, and why."""
    for result in runs:
        name = f"{result['loss']}-{result['head']}-{result['seed']}"
        if result.get("failure"):
            print(f"{name}: stopped, {result['failure']}")
        elif not result.get("finished"):
            print(f"{name}: interrupted at epoch {result['epochs'] + 1}")
