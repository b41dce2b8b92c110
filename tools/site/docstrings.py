"""Docstrings in the style of Keras, as Markdown."""

import re
import textwrap

import griffe

# Examples, up to the blank line that ends them.
_EXAMPLE = re.compile(r"^( *)>>> .*?(?=^\s*$|\Z)", re.MULTILINE | re.DOTALL)
# Headings that are followed by text at the same depth.
_HEADING = re.compile(r"^(Examples?|References?):$", re.MULTILINE)
# Sections that only Keras has: names, and what they are.
_ARGUMENTS = re.compile(
    r"^(Call arguments|Input shape|Output shape):\n((?: .*\n?|\n(?= ))+)",
    re.MULTILINE,
)
_DIRECTIVE = re.compile(r"  # doctest: .*$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Fences examples, which Markdown would take for quotes."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Returns a docstring whose examples are code, and headings bold."""
    text = _EXAMPLE.sub(_fenced, text)
    text = _ARGUMENTS.sub(_listed, text)
    return _HEADING.sub(r"**\1**", text)


def _listed(found):
    title, lines = found[1], textwrap.dedent(found[2])
    items = re.sub(r"^(\w+):", r"- `\1`:", lines, flags=re.MULTILINE)
    return f"**{title}**\n\n{items}"


def _fenced(found):
    indent, code = found[1], _DIRECTIVE.sub("", found[0]).rstrip()
    code = code.replace("<BLANKLINE>", "")
    return f"{indent}```pycon\n{code}\n{indent}```\n"
