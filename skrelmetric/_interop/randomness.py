"""Randomness of torch modules: from a generator of the caller's own, or, of modules that know none, from torch's.

torch's own generators belong to the whole process. Fits in several threads would take turns at drawing from them, and
what each draws would depend on the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from threading import RLock

import numpy as np
import torch
from torch import Generator, Tensor, nn

__all__ = ["Dropout", "drawing", "seed_of"]

# Generator on a device of what our own modules draw, for the thread that is in `drawing`. It is no part of the modules:
# threads may share them, and their copies, pickles and checkpoints are those of any module.
_SOURCE: ContextVar[Callable[[torch.device], Generator] | None] = ContextVar("_SOURCE", default=None)

_TORCHS_OWN = RLock()  # held while torch's own generators are seeded
if hasattr(os, "register_at_fork"):  # a child has its memory, but not the thread that would put them back
    os.register_at_fork(
        before=_TORCHS_OWN.acquire, after_in_parent=_TORCHS_OWN.release, after_in_child=_TORCHS_OWN.release
    )

# Modules of torch that draw nothing.
_STEADY = {nn.Sequential, nn.Linear, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.Identity}


class Dropout(nn.Dropout):
    """Dropout that draws from the source of `drawing`, and beyond it as torch's."""

    def forward(self, X: Tensor) -> Tensor:
        """Samples of which a fraction p of the entries is 0, and the others are 1 / (1 - p) times what they were."""
        source = _SOURCE.get() if self.training else None
        if source is None:
            return super().forward(X)
        return X * torch.empty_like(X).bernoulli_(1 - self.p, generator=source(X.device)).div_(1 - self.p)


def seed_of(*numbers: int) -> int:
    """Seed that whole numbers from 0 on make together, others for any other numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@contextmanager
def drawing(drawer: object, seed: int, device: torch.device) -> Iterator[None]:
    """Let a module, or what builds one, draw from a seed alone, and leave torch's own generators as they are."""

    @cache
    def source(where: torch.device) -> Generator:
        return Generator(where).manual_seed(seed)

    token = _SOURCE.set(source)
    try:
        with nullcontext() if _is_steady(drawer) else _seeded(seed, device):
            yield
    finally:
        _SOURCE.reset(token)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators, for one thread at a time, and put them back: code of others takes no other."""
    with _TORCHS_OWN, torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _is_steady(drawer: object) -> bool:
    """Whether something is known to draw nothing from torch's own generators: all its parts are our own, or steady."""
    return all(map(_is_known, drawer.modules())) if isinstance(drawer, nn.Module) else _is_ours(drawer)


def _is_known(part: nn.Module) -> bool:
    hooked = part._forward_pre_hooks or part._forward_hooks  # which may draw; each copy of a user's module has one
    return not hooked and (type(part) in _STEADY or _is_ours(part))


def _is_ours(part: object) -> bool:
    return type(part).__module__.partition(".")[0] == __name__.partition(".")[0]
