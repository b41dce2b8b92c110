"""The options of a study, read before what its work needs is imported.

A study is one file, and its imports take ten seconds. Its settings need few of
them: of its file, only the statements that define `STUDY` are run here.
"""

import ast
import contextlib
import pathlib
import sys
import types
from collections.abc import Iterator

from nc_keras.experiments.console.frame import run_command
from nc_keras.experiments.options.study import Study
from nc_keras.experiments.options.study import parse


def check_options(package: str) -> None:
    """Ends a command at once that asks for help, or has wrong options.

    To be called while `package` is imported. It does nothing, unless Python
    imports it for `python -m package.module`.

    Args:
        package: String, the name of a package of studies.
    """
    if sys.argv[0] != "-m" or "-m" not in sys.orig_argv:
        return
    name = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    parent, _, stem = name.rpartition(".")
    path = pathlib.Path(sys.modules[package].__path__[0], f"{stem}.py")
    if parent != package or not path.is_file():
        return

    def work():
        with settings_alone(name, path) as (default, description):
            parse(default, description, prog=f"python -m {name}")

    run_command(work)


@contextlib.contextmanager
def settings_alone(
    name: str, path: pathlib.Path
) -> Iterator[tuple[Study, str]]:
    """The default settings of a study, and its docstring.

    Args:
        name: The name of the study's module, which is not imported yet.
        path: Its file.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = types.ModuleType(name)
    module.__file__ = str(path)
    # The texts of options are read from the source of their class's module.
    sys.modules[name] = module
    try:
        exec(compile(_defining(tree, "STUDY"), path, "exec"), vars(module))
        yield module.STUDY, ast.get_docstring(tree) or ""
    finally:
        del sys.modules[name]


def _defining(tree: ast.Module, name: str) -> ast.Module:
    """The statements of a module that one of its names depends on."""
    needed, kept = {name}, set()
    while more := {
        at
        for at, statement in enumerate(tree.body)
        if at not in kept and needed & _bound(statement)
    }:
        kept |= more
        for at in more:
            needed |= {
                node.id
                for node in ast.walk(tree.body[at])
                if isinstance(node, ast.Name)
            }
    body = [tree.body[at] for at in sorted(kept)]
    return ast.Module(body, type_ignores=[])


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {
            (one.asname or one.name).split(".")[0] for one in statement.names
        }
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return {statement.name}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
