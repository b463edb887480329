"""State of a training: its history, the file that keeps it, and the name that tells its fit from others."""

import io
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.optim import Optimizer

from skrelmetric._data.loaded import Loaded
from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.files import replacing
from skrelmetric.relations import Relation

__all__ = ["Checkpoint", "History", "as_bytes", "fingerprint"]

_DIGEST_SIZE = sha256().digest_size


@dataclass
class History:
    """Losses and scores of the epochs so far.

    Attributes
    ----------
    losses : list of float
        Training loss of each epoch.
    scores : list of float
        Criterion before training and after each epoch, the lower the better; empty without one.
    best_epoch : int
        Epoch after which the criterion was best; 0 is before training. The last one without a criterion.
    best_state : dict or None
        Weights at that epoch.
    idle : int
        Epochs since the last improvement.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_state: dict[str, Tensor] | None = None
    idle: int = 0

    @property
    def n_epochs(self) -> int:
        """Number of epochs done."""
        return len(self.losses)

    def judge(self, score: float, module: nn.Module) -> None:
        """Add the criterion after the last epoch, and keep the weights if it is the best."""
        self.scores.append(score)
        if self.best_state is None or not score >= self.scores[self.best_epoch]:
            self.best_epoch, self.best_state = self.n_epochs, deepcopy(module.state_dict())

    def count_idle(self, tol: float) -> None:
        """Count an epoch as idle unless it improved on all before by a fraction of `tol`."""
        values = self.scores or self.losses
        *before, last = values
        self.idle = 0 if not before or last < min(before) - tol * abs(min(before)) else self.idle + 1


class Checkpoint:
    """State of a training in a file, which is replaced at once or not at all.

    The file is what ``torch.load`` reads, and its SHA-256 digest behind that.

    Parameters
    ----------
    path : Path
        The file; its folder is made if need be.

    Raises
    ------
    ValueError
        If there can be no such folder.
    """

    def __init__(self, path: Path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"checkpoint={str(path.parent)!r} cannot be a folder ({error}). Name another.") from error
        self.path = path

    def load(self, module: nn.Module, optimizer: Optimizer) -> History:
        """State of the training that was interrupted; a new one if there is no file.

        Raises
        ------
        ValueError
            If the file cannot be read, is not as it was written, or is of a version that wrote no digest.
        """
        if not self.path.exists():
            return History()
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        try:
            content = self.path.read_bytes()
            state, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
            if sha256(state).digest() != digest:
                raise ValueError("it was changed or cut off since, or is of a version before 0.10")
            saved = torch.load(io.BytesIO(state), map_location=device, weights_only=True)
            module.load_state_dict(saved["module"])
            optimizer.load_state_dict(saved["optimizer"])
            return History(**saved["history"])
        except Exception as error:
            raise ValueError(
                f"The checkpoint {self.path} cannot be read ({type(error).__name__}: {error}). "
                "Delete it to start anew, or name another folder."
            ) from error

    def save(self, module: nn.Module, optimizer: Optimizer, history: History) -> None:
        """Replace the file by the state after an epoch.

        Raises
        ------
        OSError
            If it cannot be written, as where the disk is full; the file then has the state that it had.
        """
        state = io.BytesIO()  # torch would say of a full disk that it was at an unexpected place
        parts = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "history": vars(history)}
        torch.save(parts, state)
        try:
            with replacing(self.path) as file:
                file.write(state.getbuffer())
                file.write(sha256(state.getbuffer()).digest())
        except OSError as error:
            raise OSError(
                f"The checkpoint {self.path} cannot be written ({error}) and is as it was after the epoch before. "
                "Make room and fit again, or name another folder."
            ) from error


def fingerprint(params: dict[str, Any], data: Iterable[Any]) -> str:
    """Name of a fit: the same for the same parameters and data, in any process; of data sets as they are told apart.

    Raises
    ------
    ValueError
        If a parameter is a function that has no name of its own.
    """
    named = {name: _identity(name, value) for name, value in params.items()}
    return joblib.hash((named, [_on_host(array) for array in data]))


def _on_host(array: Any) -> Any:
    """The numbers of an array of any kind, in one order, which a hash of it may depend on."""
    if isinstance(array, Loaded):
        return array.identity
    if sparse.issparse(array):
        return array.data, array.indices, array.indptr, array.shape
    array = as_host(array)
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array


def _identity(name: str, value: Any) -> Any:
    """Identity of a parameter, by which it can be compared between processes."""
    if isinstance(value, nn.Module):
        state = {name: _on_host(tensor) for name, tensor in value.state_dict().items()}
        frozen = [name for name, parameter in value.named_parameters() if not parameter.requires_grad]
        return [_plain(name, module) for name, module in value.named_modules()], state, frozen
    if isinstance(value, Relation):  # whose tensors have other bytes in each process
        parts = {key: _identity(f"{name}.{key}", _on_host(part)) for key, part in vars(value).items()}
        return type(value).__qualname__, parts
    qualified = getattr(value, "__qualname__", None)
    if qualified is None:
        return value
    if "<" in qualified:
        raise ValueError(
            f"{name} is {qualified}, of which a checkpoint cannot tell whether it is still the same. "
            "Pass a function of a module, or checkpoint=None."
        )
    of_object = _identity(name, value.__self__) if hasattr(value, "__self__") else None
    return f"{value.__module__}.{qualified}", of_object


def _plain(name: str, module: nn.Module) -> tuple:
    """Name, class and plain attributes of a submodule, but for whether it is in training mode."""
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    plain = {key: v for key, v in vars(module).items() if isinstance(v, int | float | str | tuple | None)}
    return name, kind, module.extra_repr(), {key: repr(v) for key, v in plain.items() if key != "training"}


def as_bytes(value: Any) -> bytes:
    """Modules and tensors as bytes, with their classes where a file could not name these."""
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_module=cloudpickle)  # which takes classes of a notebook along
    return buffer.getvalue()
