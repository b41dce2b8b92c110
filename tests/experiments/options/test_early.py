import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

from nc_keras.experiments.options.early import settings_alone
from nc_keras.experiments.options.study import parse

ROOT = pathlib.Path(__file__).parents[3]
STUDIES = sorted(ROOT.glob("recipes/studies/[a-z]*.py"))

_PRINT_EACH = """
import pathlib, sys
from nc_keras.experiments.options.early import settings_alone
for path in map(pathlib.Path, sys.argv[1:]):
    with settings_alone(path.stem, path) as (default, _):
        print(default.name)
assert not {"keras", "matplotlib", "scipy", "sklearn"} & set(sys.modules)
"""


def help_of(default, description, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(default, description, ["--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_has_the_same_options_without_its_imports(path, capsys):
    with settings_alone(f"{path.stem}_alone", path) as (alone, description):
        early = help_of(alone, description, capsys)
    study = importlib.import_module(f"recipes.studies.{path.stem}")
    assert description == inspect.cleandoc(study.__doc__)
    assert early == help_of(study.STUDY, description, capsys)
    assert alone.plain() == study.STUDY.plain()
    assert f"{path.stem}_alone" not in sys.modules


def test_options_of_studies_need_no_slow_import(monkeypatch):
    monkeypatch.setenv("NC_KERAS_DEFER", "1")
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_EACH, *STUDIES],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    assert len(done.stdout.split()) == len(STUDIES) > 10


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--help"], 0, "usage: python -m recipes.studies.few_shot [-h]"),
        (["--novle", "3"], 2, "Unrecognized options: --novle"),
        (["--epochs", "-3"], 2, "`epochs` must not be negative."),
    ],
)
def test_a_study_ends_before_it_imports_keras(tmp_path, options, status, words):
    (tmp_path / "keras.py").write_text("raise ImportError('too early')\n")
    done = subprocess.run(
        [sys.executable, "-m", "recipes.studies.few_shot", *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    assert "too early" not in done.stderr
