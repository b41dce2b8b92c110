"""What a recipe brings of its own: data, networks, heads, losses and more.

Settings have the names of these, and keep the objects beside them, so that
tables, folders and pages show names only.
"""

import ast
import functools
import hashlib
import importlib
import inspect
import json
import pathlib
import re
import sys
import textwrap
import types
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from nc_keras.experiments.console.names import nearest
from nc_keras.experiments.console.quiet import import_keras

# Of each kind, the objects by their names; and the `module:name` of those
# that a command line named so.
Own = Mapping[str, Mapping[str, Any]]
REFERENCES = "references"

# Names become names of folders.
_NAME = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)
_SIMPLE = (bool, int, float, str, bytes, type(None))


def take_in(
    kind: str, given: Any, known: Iterable[str] | None, own: Own
) -> tuple[tuple[str, ...], Own]:
    """Takes names and objects apart.

    Args:
        kind: String, what errors call it.
        given: A name, an object, several of them, or a dictionary of them.
        known: The names that are built in, or `None` if these are checked
            later.
        own: The objects that are there already.

    Returns:
        All names, and all objects.

    Raises:
        ValueError: If a name is unknown, unfit or given twice.
    """
    names, objects = [], dict(own.get(kind, {}))
    references = dict(own.get(REFERENCES, {}))
    for name, value in _pairs(given):
        if isinstance(value, str) and _is_known(name, value, known, objects):
            names.append(value)
            continue
        if isinstance(value, str) and ":" in value:
            name = name or value.rpartition(":")[2]
            references[name], value = value, imported(value)
        elif isinstance(value, str) and known is not None:
            _refuse_unknown(kind, value, known, objects)
        name = name or name_of(value)
        _validate_name(kind, name, known)
        if isinstance(value, pathlib.Path):
            references[name] = str(value)
        if name in objects and objects[name] is not value:
            raise ValueError(
                f"`{kind}` has two of the name {name!r}. Tell them apart by a "
                f'dictionary, as in {kind}={{"mine": ...}}.'
            )
        objects[name] = value
        names.append(name)
    if len(set(names)) < len(names):
        raise ValueError(
            f"`{kind}` must name each once. Received: {kind}={tuple(names)}."
        )
    changes = {kind: objects, REFERENCES: references}
    return tuple(names), {**own, **{k: v for k, v in changes.items() if v}}


def imported(reference: str) -> Any:
    """Returns what `module:name` means.

    Args:
        reference: String, such as `my_module:my_network`; the module may be
            the path of a file.

    Raises:
        ValueError: If there is no such module, or nothing of that name.
    """
    module, _, name = reference.rpartition(":")
    found = module_of(module)
    if not hasattr(found, name):
        public = [one for one in vars(found) if not one.startswith("_")]
        raise ValueError(nearest(f"What {module} has", name, public))
    return getattr(found, name)


def module_of(name: str) -> types.ModuleType:
    """Imports a module by its name or the path of its file.

    Raises:
        ValueError: If it is not there, or cannot be imported.
    """
    path = pathlib.Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"There is no file {name}. Received: {name!r}.")
        # As Python does it for a script; processes of a sweep do the same.
        sys.path.insert(0, str(path.resolve().parent))
        name = path.stem
    if name.startswith("."):
        raise ValueError(
            "A module has no path: name its file, with `.py`, or the module "
            f"alone. Received: {name!r}."
        )
    import_keras()  # As most modules do, and not quietly.
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"The module {name!r} cannot be imported: {error}. Run the "
            "command where it is, or name the path of its file."
        ) from error
    file = getattr(module, "__file__", None)
    if path.suffix == ".py" and pathlib.Path(file or "") != path.resolve():
        raise ValueError(
            f"Another module is called {name!r}: {file}. Rename your file. "
            f"Received: {path}."
        )
    return module


def name_of(value: Any) -> str:
    """Returns the name of a function or class, or that of an object's class."""
    while isinstance(value, functools.partial):
        value = value.func
    return getattr(value, "__name__", type(value).__name__)


def identity(value: Any) -> str:
    """Says what an object is, so that another one is told apart.

    Args:
        value: A function, a class, or an object of one.

    Returns:
        Module and qualified name, and a digest of the source, of values that
        a function encloses, and of the configuration of a Keras object.
    """
    if isinstance(value, str | pathlib.Path):
        return str(value)
    if isinstance(value, functools.partial):
        parts = [value.args, sorted(value.keywords.items())]
        return f"{identity(value.func)} {_digest(_plain(parts))}"
    is_code = inspect.isroutine(value) or inspect.isclass(value)
    code = value if is_code else type(value)
    parts = [_source(code)]
    for cell in getattr(code, "__closure__", None) or ():
        parts.append(_plain(cell.cell_contents))
    if not is_code and hasattr(value, "get_config"):
        parts.append(_plain(value.get_config()))
    module = _module(code).rpartition(".")[2]
    return f"{module}.{code.__qualname__} {_digest(parts)}"


def named_data(data: Any) -> Any:
    """Returns data with a name, which is part of the folder's.

    Args:
        data: A name, a path, which has a `/`, or an object.
    """
    if isinstance(data, str) and "/" in data and ":" not in data:
        data = pathlib.Path(data)
    if isinstance(data, pathlib.Path):
        name = re.sub(r"[^\w.+-]+", "_", data.resolve().name, flags=re.ASCII)
        return {name.lstrip(".+-") or "images": data.absolute()}
    is_named = isinstance(data, str | dict) or name_of(data) != (
        type(data).__name__
    )
    return data if is_named else {"own": data}


def by_tag(metrics: Any) -> dict[str, Any]:
    """Returns metrics by their tags.

    Args:
        metrics: Tags, functions that are metrics, or `module:name` of some.

    Raises:
        ValueError: If one of them is no metric.
    """
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    registry: dict[str, Any] = {}
    if metrics:
        # Imports Keras, which the options of a command do without; and all of
        # the library, for theory has metrics too.
        from nc_keras.public import metrics as package

        registry = package.METRICS
    found = {}
    for one in metrics:
        is_reference = isinstance(one, str) and ":" in one
        function = imported(one) if is_reference else one
        tags = [
            tag
            for tag, known in registry.items()
            if function in (tag, known.function)
        ]
        if not tags:
            raise ValueError(
                "`metrics` are tags, or functions that `nc_keras.metrics."
                "metric` made metrics of. "
                + nearest(
                    "A tag",
                    one if isinstance(one, str) else name_of(one),
                    registry,
                )
            )
        found[tags[0]] = one
    return found


def _pairs(given):
    """Names, where there are any, and objects or names."""
    if isinstance(given, Mapping):
        return list(given.items())
    several = isinstance(given, list | tuple)
    return [(None, value) for value in (given if several else [given])]


def _is_known(name, value, known, own):
    """Whether a string is a name already, and not another's second one."""
    is_there = ":" not in value if known is None else value in known
    return (is_there or value in own) and name in (None, value)


def _refuse_unknown(kind, value, known, own):
    """Refuses a name that is none, but for a second one of a built-in."""
    names = [*known, *own]
    if value not in known:
        raise ValueError(
            nearest(f"`{kind}`", value, [*names, "MODULE:NAME of your own"])
        )


def _validate_name(kind, name, known):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"A name in `{kind}` is part of a folder's: letters, digits and "
            "_ . + - fit. Name it by a dictionary, as in "
            f'{kind}={{"mine": ...}}. Received: {name!r}.'
        )
    if known and name in known:
        raise ValueError(
            f"`{kind}` has {name!r} built in. Choose another name. "
            f"Received: {kind} with {name!r}."
        )


def _module(code):
    """The module of a function or class; of a script, what it is called."""
    name = code.__module__
    if name != "__main__":
        return name
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return spec.name if spec else pathlib.Path(file or name).stem


def _source(code):
    """The source, without comments and layout; or of what was compiled."""
    try:
        source = textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        return _compiled(getattr(code, "__code__", None))
    try:
        return ast.unparse(ast.parse(source))
    except SyntaxError:
        # The lines of a lambda are a part of something.
        return source


def _compiled(code):
    if code is None:
        return ""
    constants = [
        _compiled(one) if isinstance(one, types.CodeType) else repr(one)
        for one in code.co_consts
    ]
    return [code.co_code.hex(), *code.co_names, *constants]


def _plain(value):
    """A value without addresses, as far as it is simple."""
    if isinstance(value, _SIMPLE):
        return repr(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if callable(value) or hasattr(value, "get_config"):
        return identity(value)
    return type(value).__name__


def _digest(parts):
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
