"""Takes a picture of the neural collapse panels in TensorBoard.

    python tools/screenshot.py runs/digits-conv_net panels.png

Serves the log directory with TensorBoard, opens the page Custom Scalars in
headless chromium, waits until every curve is drawn, and writes a PNG with a
palette of 256 colours. Takes about 15 seconds. Needs Debian's packages
`chromium` and `chromium-driver`, and `selenium`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver

# Three charts fit in a row; NC1 and the NC2 of the means in the picture.
WIDTH, HEIGHT = 1480, 1320

# Where `deep` is defined, `deep(root, selector)` also finds what is inside
# the web components that TensorBoard's pages are made of.
DEEP = """
const deep = (root, selector) => [
  ...root.querySelectorAll(selector),
  ...[...root.querySelectorAll('*')].flatMap(
    (element) => element.shadowRoot ? deep(element.shadowRoot, selector) : []),
];
"""

# A chart lists its curves by name and colour. A curve has been drawn when
# there is a line of its colour that no other curve has taken.
_PANELS = """
const points = (lines, color) => {
  const found = lines.findIndex(
    (line) => getComputedStyle(line).stroke === color);
  const [line] = found < 0 ? [] : lines.splice(found, 1);
  return line?.getAttribute('d')?.match(/[ML]/g)?.length ?? 0;
};
const curves = (card) => {
  const lines = deep(card.shadowRoot, 'path.line');
  return deep(card.shadowRoot, '.match-list-entry').map((entry) => [
    entry.textContent.replace(/^\\W+/, '').trim(),
    points(lines, getComputedStyle(entry).color),
  ]);
};
const title = (root, selector) => deep(root, selector)[0]?.innerText.trim();
return deep(document, 'tf-category-paginated-view').map((category) => [
  title(category.shadowRoot, '.category-name'),
  deep(category, 'tf-custom-scalar-multi-line-chart-card').map(
    (card) => [title(card.shadowRoot, 'figcaption'), curves(card)]),
]);
"""

# A chart may have no curves, so this tells whether there are more to come.
_LOADED = """
return deep(document, 'tf-line-chart-data-loader').every(
  (loader) => loader.dataLoadedAtLeastOnce && !loader.dataLoading);
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with 1 and a message on user errors.

    Args:
        argv: Arguments without the program's name; by default `sys.argv`.
    """
    args = _parser().parse_args(argv)
    try:
        picture = photograph(args.log_dir)
        picture.quantize(256).save(args.output, optimize=True)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.output}: {args.output.stat().st_size / 1e3:.0f} kB")


def photograph(log_dir: Path) -> Image.Image:
    """Returns the picture of the panels of a log directory.

    Raises:
        OSError: If TensorBoard does not start, or chromium is missing.
        ValueError: If there are no panels with curves in the directory.
    """
    if not _runs_on_disk(log_dir):
        raise ValueError(f"There are no event files in '{log_dir}'.")
    with serve(log_dir) as url, browser(WIDTH, HEIGHT) as page:
        page.get(panels_url(url))
        if not wait_for(lambda: _all_drawn(page)):
            raise ValueError(
                "TensorBoard shows no panels, or panels without curves. Name "
                "the `log_dir` of `NCTensorBoard`, or a folder of several. "
                f"Received: log_dir='{log_dir}'."
            )
        return Image.open(io.BytesIO(page.get_screenshot_as_png()))


def panels_url(url: str) -> str:
    """The address of the page Custom Scalars, with nothing smoothed."""
    return url + "#custom_scalars&_smoothingWeight=0"


def read_panels(
    page: webdriver.Chrome,
) -> dict[str, dict[str, dict[str, int]]]:
    """Reads off the page Custom Scalars what is drawn there.

    Returns:
        For each category, for each chart, for each curve, `"tag (run)"`, the
        number of points that its line goes through, and 0 without a line.
    """
    return {
        category: {chart: dict(curves) for chart, curves in charts}
        for category, charts in page.execute_script(DEEP + _PANELS)
    }


@contextlib.contextmanager
def serve(log_dir: Path, *flags: str) -> Iterator[str]:
    """Runs TensorBoard on a free port of this machine.

    Args:
        log_dir: The log directory.
        *flags: More flags for the command line of TensorBoard.

    Yields:
        The address of the server, when it has read every run.

    Raises:
        OSError: If TensorBoard does not start, with what it said.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", log_dir]
    command += ["--host", "127.0.0.1", "--port", "0", *flags]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "output.txt")
        with open(path, "w") as output:
            server = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_for(lambda: _address(path) or server.poll() is not None)
            if not _address(path):
                raise OSError(f"TensorBoard fails:\n{path.read_text()}")
            url, runs = _address(path), _runs_on_disk(log_dir)
            # A page that is opened before would stay without them.
            wait_for(lambda: runs <= _runs_served(url))
            yield url
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def browser(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """Opens headless chromium with an empty profile.

    Raises:
        FileNotFoundError: If chromium or its driver is not installed.
    """
    chromium, driver = find_chromium(), shutil.which("chromedriver")
    # Without the paths, selenium would try to download both.
    if not chromium or not driver:
        raise FileNotFoundError(
            "Install chromium and its driver, Debian's packages chromium and "
            f"chromium-driver. Received: {chromium=}, {driver=}."
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            "disable-quic",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            f"user-data-dir={profile}",
            f"window-size={width},{height}",
        ):
            options.add_argument(f"--{flag}")
        page = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield page
        finally:
            page.quit()


def find_chromium() -> str | None:
    """The path of chromium or Chrome, or `None`."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def wait_for(
    read: Callable[[], Any],
    good: Callable[[Any], bool] = bool,
    seconds: float = 60,
) -> Any:
    """Calls `read` until its value is good, and returns the last value."""
    deadline = time.monotonic() + seconds
    while not good(value := read()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return value


def _all_drawn(page):
    points = [
        points
        for charts in read_panels(page).values()
        for curves in charts.values()
        for points in curves.values()
    ]
    return page.execute_script(DEEP + _LOADED) and points and all(points)


def _address(output):
    match = re.search(r"TensorBoard \S+ at (http://\S+)", output.read_text())
    return match and match[1]


def _runs_on_disk(log_dir):
    events = Path(log_dir).rglob("*tfevents*")
    return {path.parent.relative_to(log_dir).as_posix() for path in events}


def _runs_served(url):
    with urllib.request.urlopen(url + "data/runs") as answer:
        return set(json.load(answer))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "log_dir", type=Path, help="directory that NCTensorBoard wrote"
    )
    parser.add_argument("output", type=Path, help="PNG file to write")
    return parser


if __name__ == "__main__":
    main()
