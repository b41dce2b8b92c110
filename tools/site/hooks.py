"""What the site has beside docs/: pages of the root, and the reference."""

import importlib
import pathlib
import re
import types

import notebook
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Pages that lie beside their folder, so that they are read there too.
PAGES = {
    "README.md": "index.md",
    "recipes/README.md": "recipes.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
NOTEBOOKS = {"docs/tutorial.ipynb": "tutorial.md"}
# A link to a file of the repository, with its anchor.
_LINK = re.compile(r"\[([^][]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
NAMESPACES = (
    "nc_keras",
    "nc_keras.layers",
    "nc_keras.losses",
    "nc_keras.optimizers",
    "nc_keras.models",
    "nc_keras.metrics",
    "nc_keras.callbacks",
    "nc_keras.plot",
    "nc_keras.geometry",
    "nc_keras.kernel",
    "nc_keras.weights",
    "nc_keras.theory",
    "nc_keras.experiments",
)


def on_files(files, config):
    """Adds the pages that docs/ does not hold."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for source, page in NOTEBOOKS.items():
        text, pictures = notebook.page(ROOT / source)
        for file, content in {page: text, **pictures}.items():
            files.append(File.generated(config, file, content=content))
    for name in NAMESPACES:
        page = f"api/{name.rpartition('.')[2]}.md"
        files.append(File.generated(config, page, content=reference(name)))
    return files


def on_config(config):
    """Lists the pages of the reference."""
    pages = [{n: f"api/{n.rpartition('.')[2]}.md"} for n in NAMESPACES]
    config.nav = [
        {"Reference": pages} if "Reference" in entry else entry
        for entry in config.nav
    ]
    return config


def on_page_markdown(markdown, page, config, files):
    """Lets links between pages of the repository be those of the site."""
    source = {v: k for k, v in PAGES.items()}.get(page.file.src_uri)
    folder = ROOT / (source or f"docs/{page.file.src_uri}")

    def linked(found):
        text, link, anchor = found.groups(default="")
        target = _on_site(link, folder.parent)
        if target is None or files.get_file_from_path(target) is None:
            return text  # Of a file that the site does not show.
        above = "../" * page.file.src_uri.count("/")
        return f"[{text}]({above}{target}{anchor})"

    return _LINK.sub(linked, markdown)


def reference(name: str) -> str:
    """The page of a namespace: what it exports, in its order."""
    module = importlib.import_module(name)
    lines = [f"# {name}", "", (module.__doc__ or "").strip(), ""]
    for one in exported(module):
        lines += [f"::: {one}", ""]
    return "\n".join(lines)


def exported(module: types.ModuleType) -> list[str]:
    """The paths of what a module exports, without modules."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
    ]
    found = {}
    for name in names:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            inner = [*exported(value)] if _is_own(value, module) else []
            found |= dict.fromkeys(inner)
        elif callable(value):
            found[f"{module.__name__}.{name}"] = None
    return list(found)


def _is_own(value, module):
    """Whether a module belongs to the page of another."""
    name = value.__name__
    return name.startswith(module.__name__ + ".") and name not in NAMESPACES


def _on_site(link, folder):
    """The page of the site that a link of the repository leads to."""
    target = (folder / link).resolve()
    if not target.is_relative_to(ROOT):
        return None
    path = target.relative_to(ROOT).as_posix()
    return (PAGES | NOTEBOOKS).get(path, path.removeprefix("docs/"))
