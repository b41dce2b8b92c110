"""The picture of the architecture is drawn from the code of today."""

import graphlib

from tools import floors


def test_the_picture_is_of_today():
    drawn = floors.picture(floors.floors())
    assert floors.PICTURE.read_text() == drawn, "python -m tools.floors"


def test_no_module_imports_itself_through_others():
    below = {
        module: found - {"nc_keras", module}
        for module, found in floors.imports().items()
    }
    # A circle raises, and is named.
    assert len(list(graphlib.TopologicalSorter(below).static_order())) > 100


def test_the_library_knows_nothing_of_its_users():
    for module, found in floors.imports().items():
        if not module.startswith("nc_keras"):
            continue
        above = ["recipes", "tools"]
        if not module.startswith("nc_keras.experiments"):
            above.append("nc_keras.experiments")
        assert not any(one.startswith(tuple(above)) for one in found), module
