import dataclasses
import json

from nc_keras.experiments.command import comparison as recipe
from recipes.imagenet2012 import SETTINGS


def test_the_recipe_of_imagenet_on_a_few_images(
    imagenet, tmp_path, monkeypatch, capsys
):
    # It would hold for all the tests that follow.
    monkeypatch.setattr(recipe.one_run, "make_deterministic", lambda: None)
    settings = dataclasses.replace(
        SETTINGS,
        network="resnet18",
        widths=(4,),
        heads=("etf",),
        per_class=None,
        epochs=2,
        batch_size=4,
        deepfool=0,
        data_dir=imagenet.data_dir,
        output=tmp_path,
        progress=False,
    )
    assert recipe.run(settings) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    (run,) = record["runs"]
    assert [row["epoch"] for row in run["measured"]] == [1, 2]
    assert run["failure"] is None and run["seconds_per_epoch"] > 0
    assert run["last"]["val_nc4"] >= 0 and run["last"]["val_nc_loss"] > 0
    assert record["published"][0]["value"] == "65.41 % → 64.45 %"
    assert "Scaled down: 2 epochs" in " ".join(capsys.readouterr().out.split())
