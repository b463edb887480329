"""Items of a data set, and the batches of samples and targets that they make, in whatever process they are loaded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skrelmetric._data.samples import LIMITS
from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.magnitudes import check_range, largest, limit_of
from skrelmetric._interop.randomness import drawing
from skrelmetric._interop.torch import as_tensor

__all__ = ["ONE_SHAPE", "SMALL", "Collation", "Items"]

SMALL = {torch.uint8, torch.int8, torch.bool}
"""Dtypes of whole numbers that are read as floats, whoever reads them."""

ONE_SHAPE = {
    "samples": "One shape is needed: resize, crop or pad them in the transform of the data set.",
    "targets": "One shape is needed: a class, or as many numbers with each, such as a 0/1 label indicator.",
}
"""What to do where shapes differ."""

_KEPT = {*SMALL, torch.int16, torch.int32, torch.int64}
_NO_TARGET = "Return (x, y), or pass the targets apart."


class Items(Dataset):
    """Items of a data set, with their places, by place and seed.

    What an item draws of torch depends on the seed alone, and torch's own generators are left as they are.

    Parameters
    ----------
    dataset : object
        Map-style data set.
    name : str
        What errors call it.
    """

    def __init__(self, dataset: Any, name: str):
        self.dataset, self.name = dataset, name

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Any]:
        place, seed = key
        with drawing(self.dataset, seed, torch.device("cpu")):
            try:
                return place, self.dataset[place]
            except Exception as error:
                error.add_note(f"This is item {place} of {self.name}.")
                raise


class Collation:
    """Batch of samples and batch of targets of some items with their places; without shape where there are none.

    What is wrong with the items is returned as a ValueError rather than raised, since a worker process would wrap it in
    a traceback; what is wrong with their targets in the place of these, which may not be needed.

    Parameters
    ----------
    function : callable or None
        ``function(items)`` is the user's collate_fn, and returns a batch ``(x, y)`` or ``x``. None takes items as they
        are.
    name : str
        What errors call the data set.
    """

    def __init__(self, function: Callable[[list], Any] | None, name: str):
        self.function, self.name = function, name

    def __call__(self, drawn: list[tuple[int, Any]]) -> tuple[Tensor, np.ndarray | ValueError] | ValueError:
        if not drawn:
            return torch.empty(0), np.empty(0)
        places, items = [place for place, _ in drawn], [item for _, item in drawn]
        batch = None if self.function is None else self.function(items)
        try:
            x = self._stacked(items, places) if self.function is None else self._samples_of(batch, len(items))
            self._check_numbers(x, places)
        except ValueError as error:
            return error
        try:
            y = self._targets(items, places) if self.function is None else self._targets_of(batch, len(items))
        except ValueError as error:
            return x, error
        return x, y

    def _stacked(self, items: list, places: list[int]) -> Tensor:
        samples = [self._sample(item, place) for item, place in zip(items, places, strict=True)]
        shapes = [tuple(sample.shape) for sample in samples]
        for shape, place in zip(shapes, places, strict=True):
            if shape != shapes[0]:
                raise ValueError(
                    f"Items {places[0]} and {place} of {self.name} have samples of shapes {shapes[0]} and {shape}. "
                    + ONE_SHAPE["samples"]
                )
        return torch.stack(samples)

    def _sample(self, item: Any, place: int) -> Tensor:
        what = f"Item {place} of {self.name}"
        if isinstance(item, dict):
            raise ValueError(
                f"{what} is a dict of {list(item)}, but (x, y) or x is needed. Return a tuple, or pass a DataLoader "
                "whose collate_fn makes (x, y) of a list of items."
            )
        if not isinstance(item, tuple | list):
            item = (item,)
        if not item:
            raise ValueError(f"{what} is an empty {type(item).__name__}, but (x, y) or x is needed.")
        return _as_sample(item[0], f"The sample of item {place} of {self.name} is")

    def _samples_of(self, batch: Any, n_items: int) -> Tensor:
        what = f"The collate_fn of {self.name} makes samples"
        x = _as_sample(batch[0] if isinstance(batch, tuple | list) and batch else batch, f"{what} that are")
        if not x.ndim or len(x) != n_items:
            raise ValueError(f"{what} of shape {tuple(x.shape)} of {n_items} items, but one row an item is needed.")
        return x

    def _check_numbers(self, x: Tensor, places: list[int]) -> None:
        if not x.is_floating_point():
            return
        finite = x.isfinite().reshape(len(x), -1).all(1)
        if not finite.all():
            raise ValueError(
                f"{self.name} contains NaN or infinity in item {places[int(finite.int().argmin())]}. Leave such items "
                "out, or mend them in the transform of the data set."
            )
        check_range(largest(x), self.name, LIMITS.get(x.dtype, limit_of()), least=False)

    def _targets(self, items: list, places: list[int]) -> np.ndarray:
        for item, place in zip(items, places, strict=True):
            if not isinstance(item, tuple | list) or len(item) < 2:
                raise ValueError(
                    f"Item {place} of {self.name} is a {type(item).__name__} without a target. {_NO_TARGET}"
                )
        return self._as_targets([as_host(item[1]) for item in items])

    def _targets_of(self, batch: Any, n_items: int) -> np.ndarray:
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise ValueError(
                f"The collate_fn of {self.name} makes a {type(batch).__name__} without targets. {_NO_TARGET}"
            )
        y = self._as_targets(as_host(batch[1]))
        if not y.ndim or len(y) != n_items:
            raise ValueError(
                f"The collate_fn of {self.name} makes targets of shape {y.shape} of {n_items} items, but one row an "
                "item is needed."
            )
        return y

    def _as_targets(self, y: Any) -> np.ndarray:
        try:
            return np.asarray(y)
        except ValueError:  # rows of different lengths
            raise ValueError(f"{self.name} has targets of different shapes. {ONE_SHAPE['targets']}") from None


def _as_sample(x: Any, what: str) -> Tensor:
    """Numbers as a tensor; unsigned integers of 16 bits and more as signed ones.

    Raises
    ------
    ValueError
        If they are something else.
    """
    found, tensor = f"a {type(x).__module__}.{type(x).__qualname__}".replace(" builtins.", " "), None
    if isinstance(x, np.ndarray | np.generic | int | float):
        array = np.asarray(x)
        found = f"an array of {array.dtype}"
        if array.dtype.kind in "biuf":
            tensor = as_tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    elif isinstance(x, Tensor):
        found = f"a tensor of {x.dtype} and {x.layout}"
        if x.layout == torch.strided and not x.is_complex():
            tensor = x.detach()
    if tensor is None:
        raise ValueError(
            f"{what} {found}, but a tensor or an array of numbers is needed. End the transform of the data set with "
            "torchvision's PILToTensor, which keeps bytes of 0 to 255, or with ToTensor, for trunks that take 0 to 1."
        )
    return tensor if tensor.is_floating_point() or tensor.dtype in _KEPT else tensor.to(torch.int64)
