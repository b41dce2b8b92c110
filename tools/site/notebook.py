"""A notebook as a page: its text, its code, and its stored outputs."""

import base64
import json
import pathlib
import re

_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PICTURES = {"image/gif": "gif", "image/png": "png"}


def page(path: pathlib.Path) -> tuple[str, dict[str, bytes]]:
    """Returns the Markdown of a notebook, and its pictures by their names.

    The page has the name of the notebook; a link to that comes first.
    """
    name = path.stem
    title, *cells = json.loads(path.read_text("utf-8"))["cells"]
    blocks = [
        "".join(title["source"]),
        f"This page is a notebook: <a download href={name}.ipynb>download"
        "</a> it to run it.",
    ]
    pictures: dict[str, bytes] = {}
    heading = "Digits"  # of a picture, which is read where it is not seen
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            heading = [heading, *_HEADING.findall(source)][-1]
            continue
        blocks.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            kind = next((k for k in _PICTURES if k in data), None)
            if kind is not None:
                file = f"{name}/{len(pictures) + 1}.{_PICTURES[kind]}"
                pictures[file] = base64.b64decode("".join(data[kind]))
                blocks.append(f"![{heading}]({file})")
            elif output["output_type"] == "stream":
                text = "".join(output["text"]).rstrip()
                blocks.append(f"```text\n{text}\n```")
    return "\n\n".join(blocks) + "\n", pictures
