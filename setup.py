"""All else is in setup.cfg."""

import pathlib
import re

from setuptools import setup

readme = pathlib.Path(__file__).with_name("README.md").read_text("utf-8")
setup(
    # A package index has the README alone: of links to files beside it, the
    # words stay, and pictures go.
    long_description=re.sub(
        r"(!?)\[([^]]*)\]\((?!https?:)[^)]*\)",
        lambda link: "" if link[1] else link[2],
        readme,
    ),
    long_description_content_type="text/markdown",
)
