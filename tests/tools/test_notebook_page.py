"""The page of the site that is made from the tutorial."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tools" / "site" / "notebook.py"


def page_of(path):
    spec = importlib.util.spec_from_file_location("notebook_page", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page(path)


def test_text_code_outputs_and_pictures_are_in_the_page():
    text, pictures = page_of(ROOT / "docs" / "tutorial.ipynb")
    assert text.startswith("# Neural collapse: a tutorial\n")
    assert "```python\nfew = y < 3\n" in text
    assert "```text\nCollapsed: NC1, NC2, NC3, NC4 reached.\n" in text
    linked = re.findall(r"!\[\w[^]]*\]\(([^)]+)\)", text)
    assert linked == [*pictures] and len(linked) == 12
    assert pictures["tutorial/1.png"].startswith(b"\x89PNG")
    assert pictures["tutorial/2.gif"].startswith(b"GIF89a")
