import dataclasses
import importlib
import math

import numpy as np
import pytest

from nc_keras.epochs import log_spaced_epochs
from nc_keras.experiments import datasets
from nc_keras.experiments.options import protocol
from nc_keras.experiments.options.built_in import ALL_HEADS
from nc_keras.experiments.options.built_in import ALL_LOSSES
from nc_keras.experiments.options.built_in import FAMILIES
from nc_keras.experiments.options.built_in import NETWORKS
from nc_keras.experiments.options.built_in import depth_of
from nc_keras.experiments.options.settings import Run
from nc_keras.experiments.options.settings import Settings
from recipes import protocol as command


def settings_of(name):
    return importlib.import_module(f"recipes.{name}").SETTINGS


def test_every_dataset_has_its_recipe():
    names = [found.dataset for found in command.PROTOCOLS]
    assert set(names) == set(datasets.SOURCES)
    for found in command.PROTOCOLS:
        name = found.dataset
        assert settings_of(name).protocol is found
        assert found.network in found.networks
        assert set(found.networks) <= set(NETWORKS)
        assert found.per_class == datasets.BALANCED.get(name)
        module = importlib.import_module(f"recipes.{name}")
        assert f"python -m recipes.{name}" in module.__doc__
        assert "Hardware and time" in module.__doc__
        for family in ("vgg", "resnet", "densenet"):
            assert any(network.startswith(family) for network in found.networks)


def test_the_grid_has_every_best_rate():
    assert len(protocol.LEARNING_RATES) == 25
    assert protocol.LEARNING_RATES[0] == pytest.approx(1e-4)
    assert protocol.LEARNING_RATES[-1] == pytest.approx(0.25)
    rates = [
        fact.value
        for found in command.PROTOCOLS
        for network in found.networks.values()
        for fact in network.rates.values()
    ]
    assert len(rates) > 15
    grid = np.array(protocol.LEARNING_RATES)
    for rate in rates:
        # The notebook's own are rounded to three digits.
        assert np.abs(rate / grid - 1).min() < 2e-3


def test_rates_by_network_and_loss():
    mnist, fashion = settings_of("mnist"), settings_of("fashion_mnist")
    assert mnist.rate("ce").value == 0.0679
    assert mnist.rate("mse").value == 0.0184
    assert fashion.rate("mse").value == 0.094015077
    vgg = dataclasses.replace(fashion, network="vgg11")
    assert vgg.rate("mse").value == 0.018420157
    assert vgg.rate("ce").status is protocol.Status.OURS
    assert dataclasses.replace(vgg, learning_rate=1.0).rate("ce").value == 1.0
    assert settings_of("digits").rate("ce").value == 0.01


def test_what_is_only_remembered_is_not_printed_as_published(capsys):
    for found in command.PROTOCOLS:
        for network in found.networks.values():
            known = network.status is not protocol.Status.UNCONFIRMED
            assert bool(network.source) == known
            for fact in network.rates.values():
                assert fact.source
    command.main()
    text = " ".join(capsys.readouterr().out.split())
    assert "imagenet2012" in text and "not confirmed" in text
    assert "93.64" not in text


def test_imagenet_has_its_own_schedule():
    settings = settings_of("imagenet2012")
    assert (settings.epochs, settings.batch_size) == (300, 256)
    assert settings.weight_decay == 1e-4
    rate = settings.rate("ce").value
    rates = [settings.learning_rate_at(e, "ce") / rate for e in range(300)]
    assert rates[149:151] == pytest.approx([1.0, 0.1])
    assert rates[224:226] == pytest.approx([0.1, 0.01])


def test_the_schedule_drops_by_ten_at_thirds():
    settings = Settings("digits", epochs=350, learning_rate=1.0)
    rates = [settings.learning_rate_at(epoch, "ce") for epoch in range(350)]
    assert rates[115:117] == pytest.approx([1.0, 0.1])
    assert rates[232:234] == pytest.approx([0.1, 0.01])
    assert len(set(rates)) == 3


def test_measured_epochs_are_the_papers():
    assert protocol.MEASURED_EPOCHS == tuple(log_spaced_epochs(350))
    for found in command.PROTOCOLS:
        assert len(settings_of(found.dataset).measured_epochs) == 50
    mnist = settings_of("mnist")
    assert mnist.measured_epochs == list(protocol.MEASURED_EPOCHS)


def test_scaled_runs_keep_their_shares():
    mnist = settings_of("mnist")
    scaled = dataclasses.replace(mnist, fraction=0.1).settled(mnist)
    assert (scaled.epochs, scaled.protocol_epochs) == (35, 350)
    rates = [scaled.learning_rate_at(e, "ce") for e in range(35)]
    changes = [e for e in range(1, 35) if rates[e] != rates[e - 1]]
    assert changes == [math.floor(35 / 3), math.floor(70 / 3)]


def test_runs_of_one_seed_come_together():
    settings = Settings("digits", losses=("ce", "mse"), seeds=(3, 1))
    assert len(settings.runs) == 8
    assert settings.runs[0] == Run("ce", "linear", 3)
    assert [run.seed for run in settings.runs] == [3] * 4 + [1] * 4
    assert settings.runs[-1].name == "mse-etf_dim_c-1"


def test_names_are_those_of_the_library():
    import nc_keras
    from nc_keras.models import densenet
    from nc_keras.models import resnet
    from nc_keras.models import vgg
    from nc_keras.models.heads import HEADS

    for family, module in zip(FAMILIES, (resnet, vgg, densenet), strict=True):
        assert FAMILIES[family] == tuple(module.DEPTHS)
    assert set(ALL_HEADS) == {*HEADS, "etf_dim_c"}
    from nc_keras.experiments.training.losses import LOSSES as made

    assert tuple(made) == ALL_LOSSES
    assert depth_of("densenet121") == ("densenet", 121)
    assert depth_of("conv_net") == ("conv_net", None)
    assert nc_keras.models.ResNet


def test_another_network_does_not_take_the_recipes_widths_and_rates():
    digits = settings_of("digits")
    other = dataclasses.replace(digits, network="resnet18").settled(digits)
    assert other.widths == ()
    assert other.rate("ce").status is protocol.Status.OURS
    assert other.rate("ce").value == protocol.DEFAULT_RATES["ce"].value
    narrow = dataclasses.replace(digits, network="resnet18", widths=(8,))
    assert narrow.settled(digits).widths == (8,)
    wrong = dataclasses.replace(narrow, widths=(8, 16))
    with pytest.raises(ValueError, match="takes 1 `widths`"):
        wrong.settled(digits)


def test_what_differs_from_the_protocol_is_told():
    from nc_keras.experiments.results import findings
    from nc_keras.experiments.results import record

    mnist = settings_of("mnist")
    changed = dataclasses.replace(
        mnist, fraction=0.1, batch_size=32, learning_rate=0.1
    ).settled(mnist)
    data = datasets.load("digits")
    found = record.build_record(changed, data, [], False)
    text = " ".join(findings.notices(found))
    assert "Scaled down: 35 epochs a run instead of the 350" in text
    assert "batch_size 32 (128), learning_rate 0.1" in text
    found = record.build_record(mnist, data, [], False)
    assert findings.notices(found) == []
    digits = settings_of("digits")
    scaled = dataclasses.replace(digits, fraction=0.1).settled(digits)
    found = record.build_record(scaled, data, [], False)
    (text,) = findings.notices(found)
    assert "20 epochs a run instead of the 200 of the recipe" in text


def test_the_rescaled_square_loss_follows_the_number_of_classes():
    from nc_keras.experiments.training.losses import LOSSES as made

    few, many = (made["rescaled_square"]([5] * count) for count in (10, 1000))
    assert (few.k, few.M) == (1, 15)
    assert (many.k, many.M) == (15, 30)


def test_rates_by_loss():
    digits = settings_of("digits")
    rates = {"ce": 0.5, "mse": 0.25}
    other = dataclasses.replace(digits, network="mlp", rates=rates)
    assert other.settled(digits).rate("mse").value == 0.25
    known = dataclasses.replace(digits, rates=rates)
    assert (
        known.rate("rescaled_square")
        is (protocol.DEFAULT_RATES["rescaled_square"])
    )
    with pytest.raises(ValueError, match="Did you mean 'mse'"):
        dataclasses.replace(digits, rates={"mes": 0.1})
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(digits, rates={"ce": 0.0})
