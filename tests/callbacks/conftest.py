import keras
import pytest

import nc_keras


@pytest.fixture(scope="session")
def resumed_run(digits, tmp_path_factory):
    """The log directory of 3 epochs, resumed from the second, 5 in all."""
    keras.utils.set_random_seed(0)
    log_dir = tmp_path_factory.mktemp("logs") / "resumed"
    images, labels = digits
    train, validation = slice(400), slice(400, 600)
    model = nc_keras.models.MLP((8, 8, 1), 10, widths=(32,))
    model.compile(
        keras.optimizers.SGD(0.125),
        loss=nc_keras.losses.CE(),
        metrics=["accuracy"],
    )
    for first, last in ((0, 3), (2, 5)):
        held_out = images[validation], labels[validation]
        panels = nc_keras.callbacks.NCTensorBoard(
            log_dir,
            images[train],
            labels[train],
            held_out,
            images_every=2,
            threshold=0.01,  # from the first epoch on
        )
        model.fit(
            images[train],
            labels[train],
            validation_data=held_out,
            initial_epoch=first,
            epochs=last,
            callbacks=[panels],
            verbose=0,
        )
    return log_dir
