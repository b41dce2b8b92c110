import pytest


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Small ImageNet archives, prepared by the tool."""
    # Skips the tests where tensorflow-datasets is not installed.
    import small_sets

    folder = tmp_path_factory.mktemp("imagenet")
    with pytest.MonkeyPatch.context() as patch:
        small = small_sets.write_small_imagenet(folder / "archives", patch)
        small.data_dir = folder / "data"
        arguments = ["--archives", small.folder, "--data-dir", small.data_dir]
        small_sets.run_tool("imagenet2012", *arguments)
        yield small
