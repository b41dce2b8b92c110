"""What is built for a package index holds all that it should."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("nc_keras", "docs", "recipes", "tests", "tools")
BUILD = """
from setuptools import build_meta
build_meta.build_sdist("dist")
build_meta.build_wheel("dist")
"""


def files(root, *folders):
    return {
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of what was built of a copy: building leaves files behind."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("the project is built by setuptools 77 or newer")
    copy = tmp_path_factory.mktemp("project")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder)
    subprocess.run(
        [sys.executable, "-c", BUILD], cwd=copy, check=True, capture_output=True
    )
    return copy / "dist"


def test_the_wheel_has_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in packed if ".dist-info/" not in name} == files(
        ROOT, "nc_keras"
    )


def test_the_source_has_what_tests_and_readers_need(built):
    (source,) = built.glob("*.tar.gz")
    packed = tarfile.open(source).getnames()
    packed = {name.partition("/")[2] for name in packed}
    assert files(ROOT, *FOLDERS) <= packed
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "setup.cfg"} <= packed


def test_the_page_of_the_index_has_no_dead_links(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
        page = archive.read(name).decode().partition("\n\n")[2]
    targets = [part.partition(")")[0] for part in page.split("](")[1:]]
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_twine_takes_both(built):
    pytest.importorskip("twine")
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()],
        check=True,
    )
