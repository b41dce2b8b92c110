"""Draws the floors of the project from its imports: docs/architecture.svg.

    python -m tools.floors           writes the picture
    python -m tools.floors --check   exits with 1 if it is not that of today

A room is a package or module of `nc_keras` or `nc_keras.experiments`, or
`recipes`, or `tools`. It stands above every room that it imports. Rooms that
import each other have no such picture: the tool then names them.
"""

import ast
import graphlib
import html
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
_PACKAGES = ("nc_keras", "recipes", "tools")
_WIDTH, _HEIGHT, _GAP, _LEFT = 130, 34, 8, 16
_PER_ROW = 6


def imports() -> dict[str, set[str]]:
    """Returns which modules each module imports."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for package in _PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    modules = {name.removesuffix(".__init__"): p for name, p in paths.items()}
    return {
        name: _imported(ast.parse(path.read_text()), modules)
        for name, path in modules.items()
    }


def room(module: str) -> str:
    """Returns the room of a module, such as `nc_keras.metrics`."""
    parts = module.split(".")
    if parts[0] != "nc_keras":
        return parts[0]
    depth = 3 if parts[:2] == ["nc_keras", "experiments"] else 2
    return ".".join(parts[:depth])


def floors() -> list[list[str]]:
    """Returns the rooms of each floor, from the ground up.

    Raises:
        graphlib.CycleError: If rooms import each other.
    """
    below = {}
    for module, found in imports().items():
        if module in ("nc_keras", "nc_keras.experiments"):
            continue  # They only gather what is public.
        rooms = below.setdefault(room(module), set())
        rooms |= {room(one) for one in found} - {room(module), "nc_keras"}
    heights = {}
    for one in graphlib.TopologicalSorter(below).static_order():
        under = [heights[other] for other in below.get(one, ())]
        heights[one] = max(under, default=-1) + 1
    levels = [[] for _ in range(max(heights.values()) + 1)]
    for one in sorted(heights):
        levels[heights[one]].append(one)
    return levels


def picture(levels: list[list[str]]) -> str:
    """Returns the floors as SVG, the ground at the bottom."""
    rows = []
    for level, rooms in reversed(list(enumerate(levels))):
        for start in range(0, len(rooms), _PER_ROW):
            rows.append((level, rooms[start : start + _PER_ROW]))
    width = 2 * _LEFT + 24 + _PER_ROW * (_WIDTH + _GAP)
    height = 2 * _LEFT + len(rows) * (_HEIGHT + _GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} '
        f'{height}" font-family="sans-serif" font-size="11">',
        "<title>Each room imports rooms below it only.</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, (level, rooms) in enumerate(rows):
        top = _LEFT + index * (_HEIGHT + _GAP)
        middle = top + _HEIGHT // 2 + 4
        lines.append(f'<text x="{_LEFT}" y="{middle}">{level}</text>')
        for column, name in enumerate(rooms):
            left = _LEFT + 24 + column * (_WIDTH + _GAP)
            color = "#e8f0fe" if name.startswith("nc_keras.exp") else "#f1f3f4"
            color = "#fef7e0" if name in ("recipes", "tools") else color
            short = html.escape(name.removeprefix("nc_keras."))
            lines += [
                f'<rect x="{left}" y="{top}" width="{_WIDTH}" '
                f'height="{_HEIGHT}" rx="4" fill="{color}" stroke="#5f6368"/>',
                f'<text x="{left + _WIDTH // 2}" y="{middle}" '
                f'text-anchor="middle">{short}</text>',
            ]
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Runs the command line."""
    drawn = picture(floors())
    if "--check" not in sys.argv:
        PICTURE.write_text(drawn)
    elif not PICTURE.exists() or PICTURE.read_text() != drawn:
        sys.exit(f"{PICTURE.name} is not of today: python -m tools.floors")


def _imported(tree, modules):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found |= {whole if whole in modules else node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules.keys()


if __name__ == "__main__":
    main()
