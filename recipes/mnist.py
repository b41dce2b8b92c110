"""The papers' protocol on MNIST: 5,000 images per class, ResNet-18.

    python tools/prepare_dataset.py mnist --archives DIR
    python -m recipes.mnist

    Loss            cross-entropy, rate 0.0679; --losses mse: rate 0.0184
    Optimizer       SGD, momentum 0.9, coupled weight decay 5e-4, batch 128
    Schedule        350 epochs, rate divided by ten after 116 and 233
    Images          28x28 padded to 32x32, standardised, not augmented
    Terminal phase  from 99.9 % training accuracy on

Hardware and time: one GPU, some hours per head; on two CPU cores it is days.
There, `--network mlp --epochs 40` shows the terminal phase on all images in
minutes; docs/results.md has our run of it. Published are the two rates; of the
paper's numbers there is none that we could read.
"""

from nc_keras.experiments.command.cli import main
from nc_keras.experiments.options.protocol import NOTEBOOK
from nc_keras.experiments.options.protocol import Fact
from nc_keras.experiments.options.protocol import Network
from nc_keras.experiments.options.protocol import Protocol
from nc_keras.experiments.options.protocol import Status
from nc_keras.experiments.options.protocol import transcribed
from nc_keras.experiments.options.settings import Settings

PROTOCOL = Protocol(
    dataset="mnist",
    network="resnet18",
    per_class=5000,
    networks={
        "vgg11": transcribed(mse=0.025519618),
        "resnet18": Network(
            Status.PUBLISHED,
            {
                "ce": Fact(0.0679, Status.PUBLISHED, NOTEBOOK),
                "mse": Fact(0.0184, Status.PUBLISHED, NOTEBOOK),
            },
            NOTEBOOK,
        ),
        "densenet40": transcribed(mse=0.025519618),
    },
)
SETTINGS = Settings.of(PROTOCOL)

if __name__ == "__main__":
    main(SETTINGS, __doc__)
