"""Training loop: epochs, and early stopping with the best weights."""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from skrelmetric._training.checkpoint import Checkpoint, History

__all__ = ["OPTIMIZERS", "check_loss", "new_optimizer", "train"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "lbfgs": partial(torch.optim.LBFGS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"),
}
"""Optimisers by name, of parameters or groups of them; L-BFGS makes up to 20 steps an epoch."""

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def new_optimizer(name: str, parameters: Any, **options: Any) -> Optimizer:
    """Optimiser of parameters or groups of them, by its name in `OPTIMIZERS`."""
    if _CACHE not in os.environ:
        import_module("torch._dynamo")  # which the first optimiser of a process loads
        os.environ.pop(_CACHE, None)  # and which sets this for all processes that are started from here
    return OPTIMIZERS[name](parameters, **options)


def train(
    module: nn.Module,
    optimizer: Optimizer,
    run_epoch: Callable[[int], float],
    *,
    max_epochs: int,
    criterion: Callable[[], float] | None = None,
    tol: float = 1e-4,
    patience: int = 10,
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[History, float], bool] = lambda history, seconds: False,
) -> History:
    """Train until nothing improves any more.

    Parameters
    ----------
    module : nn.Module
        Module that is trained; it ends with the best weights, or with the last ones without a criterion.
    optimizer : Optimizer
        Optimiser of its parameters.
    run_epoch : callable
        ``run_epoch(epoch)`` trains one epoch, counted from 0, and returns its loss. Whatever it draws should depend on
        the number of the epoch and not on the epochs before, so that an interrupted training resumes to the same end.
    max_epochs : int
        Most epochs, those of the checkpoint included.
    criterion : callable or None, default=None
        ``criterion()`` judges the module, the lower the better; None goes by the loss and keeps the last weights.
    tol : float, default=1e-4
        Fraction of the best value by which an epoch must improve on it.
    patience : int, default=10
        Epochs without improvement after which to stop.
    checkpoint : Checkpoint or None, default=None
        Where the state is kept after each epoch, and taken up.
    after_epoch : callable, default returns False
        ``after_epoch(history, seconds)`` is called after each epoch, with the time that training and judging took, and
        stops the training if it returns True.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    history = checkpoint.load(module, optimizer) if checkpoint else History()
    if criterion and not history.scores:
        history.judge(criterion(), module)
    while history.n_epochs < max_epochs and history.idle < patience:
        began = perf_counter()
        loss = run_epoch(history.n_epochs)
        check_loss(loss, history.n_epochs + 1)
        history.losses.append(loss)
        if criterion:
            history.judge(criterion(), module)
        else:
            history.best_epoch = history.n_epochs
        history.count_idle(tol)
        seconds = perf_counter() - began
        if checkpoint:
            checkpoint.save(module, optimizer, history)
        if after_epoch(history, seconds):
            break
    if history.best_state is not None:
        module.load_state_dict(history.best_state)
    return history


def check_loss(loss: float, epoch: int) -> None:
    """Refuse to go on from a loss that is not finite.

    Raises
    ------
    FloatingPointError
        If it is not.
    """
    if not isfinite(loss):
        raise FloatingPointError(
            f"The loss became {loss} in epoch {epoch}. Lower learning_rate, or scale features and targets."
        )
