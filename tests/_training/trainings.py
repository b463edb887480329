"""Small trainings that tests of the loop and of its checkpoints share."""

import io
from hashlib import sha256

import torch
from torch import nn

from skrelmetric._training.checkpoint import Checkpoint
from skrelmetric._training.loop import OPTIMIZERS, train

N_EPOCHS = 8
RATES = {"adam": 0.3, "adamw": 0.3, "sgd": 0.4, "lbfgs": 1.0}


def saved(path):
    return torch.load(path, weights_only=True)


def write(state, path):
    """A checkpoint of any state."""
    torch.save(state, content := io.BytesIO())
    path.write_bytes(content.getvalue() + sha256(content.getvalue()).digest())


def scripted(losses, scores=None, **options):
    """A training whose losses and scores are given; the module's only weight is the number of epochs it has seen."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)

    def run_epoch(epoch):
        assert int(module.weight) == epoch
        nn.init.constant_(module.weight, epoch + 1)
        return losses[epoch]

    def criterion():
        return scores[int(module.weight)]

    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    options = {"max_epochs": len(losses), "criterion": criterion if scores is not None else None, **options}
    return train(module, optimizer, run_epoch, **options), int(module.weight)


def regression(optimizer="adam", checkpoint=None, *, max_epochs=N_EPOCHS, judged=True, before_epoch=lambda epoch: None):
    """A perceptron fitted to twenty samples and judged on ten; everything is drawn from fixed seeds."""
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(30, k, generator=generator, dtype=torch.float64) for k in (3, 1))
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    optimizer = OPTIMIZERS[optimizer](module.parameters(), RATES[optimizer])

    def loss(rows):
        return (module(X[rows]) - y[rows]).square().mean()

    def run_epoch(epoch):
        before_epoch(epoch)
        drawn = torch.randperm(20, generator=torch.Generator().manual_seed(epoch))[:10]
        rows = slice(20) if isinstance(optimizer, torch.optim.LBFGS) else drawn

        def closure():
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            return value

        return float(optimizer.step(closure).detach())

    def criterion():
        with torch.no_grad():
            return float(loss(slice(20, None)))

    history = train(
        module,
        optimizer,
        run_epoch,
        max_epochs=max_epochs,
        criterion=criterion if judged else None,
        patience=max_epochs + 1,
        checkpoint=Checkpoint(checkpoint) if checkpoint else None,
    )
    return module.state_dict(), optimizer.state_dict(), vars(history)
