"""What every recipe does: train each run, compare, say where to look."""

from nc_keras.experiments.datasets import devices
from nc_keras.experiments.datasets.loading import prepare
from nc_keras.experiments.options.settings import Settings
from nc_keras.experiments.results.comparison import export
from nc_keras.experiments.results.page import write_report
from nc_keras.experiments.results.plots import plot_comparison
from nc_keras.experiments.results.record import build_record
from nc_keras.experiments.results.record import claim_folder
from nc_keras.experiments.results.record import is_finished
from nc_keras.experiments.results.record import read_runs
from nc_keras.experiments.results.record import write_json
from nc_keras.experiments.results.tables import print_summary
from nc_keras.experiments.training import one_run
from nc_keras.processes import is_first_process
from nc_keras.writers.files import writable_directory


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
                one_run.train(settings, one, dataset)
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
    for path in export(record, folder, settings.formats, settings.tables):
        print(f"also     {path}")
    print(f"panels   tensorboard --logdir {folder}")


def tell_unfinished(runs: list[dict]) -> None:
    """Prints which runs came to no end, and why."""
    for result in runs:
        name = f"{result['loss']}-{result['head']}-{result['seed']}"
        if result.get("failure"):
            print(f"{name}: stopped, {result['failure']}")
        elif not result.get("finished"):
            print(f"{name}: interrupted at epoch {result['epochs'] + 1}")
