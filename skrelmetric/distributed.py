"""Fits to samples in shards, one for each process of a group that torchrun started."""

import gc
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Self
from zlib import crc32

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["RankError", "Ranks", "current_ranks", "shards"]


class RankError(RuntimeError):
    """Error of another process of the group: it failed, fell silent, or does something else."""


class Ranks:
    """Processes that the samples are shared out among, as one of them sees them; a single one by default.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    rank, size = 0, 1

    def rows(self, n_samples: int) -> slice:
        """Rows of this process, where samples that every process can read are shared out evenly.

        Parameters
        ----------
        n_samples : int
            Number of samples.

        Returns
        -------
        slice
        """
        start, stop = (n_samples * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sum of each tensor over the processes, in float64.

        Parameters
        ----------
        tensors : sequence of Tensor
            Of the same shapes in every process.

        Returns
        -------
        list of Tensor
            The same in every process.

        Raises
        ------
        RankError
            If a process has failed, is not to be reached, or sums something else.
        """
        return list(tensors)

    def gathered(self, value: Any) -> list[Any]:
        """Values of all processes, in the order of their ranks.

        Parameters
        ----------
        value : object
            Of this process; it is pickled.

        Returns
        -------
        list

        Raises
        ------
        RankError
            If a process has failed, is not to be reached, or does something else.
        """
        return [value]

    def agreed(self, value: Any) -> Any:
        """Value of the first process.

        Parameters
        ----------
        value : object
            Of this process; it is pickled.

        Returns
        -------
        object

        Raises
        ------
        RankError
            If a process has failed, is not to be reached, or does something else.
        """
        return value

    @contextmanager
    def together(self) -> Iterator[Self]:
        """Context that ends well in all processes, or with an error in all of them.

        Yields
        ------
        Ranks
            The same.

        Raises
        ------
        RankError
            In the others, if a process raises within.
        """
        yield self


class _Group(Ranks):
    """Processes of a torch process group.

    Every exchange begins with a few numbers of fixed size: whether the process is well, and what it is about to
    exchange. So a process that failed can say so in place of what the others expect of it.
    """

    def __init__(self, group: Any = None):
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        hosts = dist.get_backend(group) != "nccl"
        self._own_device = torch.device("cpu" if hosts else "cuda")

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if not tensors:
            return []
        flat = torch.cat([tensor.reshape(-1).to(torch.float64) for tensor in tensors])
        device = flat.device
        self._meet("sum", flat.numel())
        if self._own_device.type == "cuda":
            flat = flat.to(self._own_device)
        with _contact():
            dist.all_reduce(flat, group=self.group)
        sums = flat.to(device).split([tensor.numel() for tensor in tensors])
        return [each.reshape(tensor.shape) for each, tensor in zip(sums, tensors, strict=True)]

    def gathered(self, value: Any) -> list[Any]:
        self._meet("gather", 0)
        return self._gather(value)

    def agreed(self, value: Any) -> Any:
        # Before all wait for it, so that what cannot be pickled is told.
        contents: list[Any] = [pickle.dumps(value) if self.rank == 0 else None]
        self._meet("agree", 0)
        with _contact():
            dist.broadcast_object_list(contents, group_src=0, group=self.group)
        return pickle.loads(contents[0])

    @contextmanager
    def together(self) -> Iterator[Self]:
        try:
            yield self
            self._meet("end", 0)
        except RankError:
            raise
        except BaseException as error:
            with suppress(RankError):
                self._headers([1, 0, 0])
                self._gather(f"{type(error).__name__}: {error}")
            raise

    def _meet(self, what: str, size: int) -> None:
        """Meet the other processes: all must be well, and about to exchange the same."""
        headers = self._headers([0, crc32(what.encode()), size])
        if any(failed for failed, *_ in headers):
            messages = self._gather(None)
            failures = [f"rank {rank} with {text}" for rank, text in enumerate(messages) if text is not None]
            raise RankError(f"This fit ended because another failed: {'; '.join(failures)}")
        different = [rank for rank, header in enumerate(headers) if header != headers[0]]
        if different:
            raise RankError(
                f"Ranks 0 and {different[0]} are at different steps ({what} of {size} numbers in rank {self.rank}). "
                "Call the same fits with the same parameters, on samples of the same features, in every process, "
                "on machines of one kind with the same number of threads."
            )

    def _headers(self, header: list[int]) -> list[list[int]]:
        own = torch.tensor(header, device=self._own_device)
        of_all = [torch.empty_like(own) for _ in range(self.size)]
        with _contact():
            dist.all_gather(of_all, own, group=self.group)
        return [each.tolist() for each in of_all]

    def _gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with _contact():
            dist.all_gather_object(values, value, group=self.group)
        return values


@contextmanager
def _contact() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankError(
            f"Lost contact with another process ({str(error).splitlines()[0]}). It died, or did nothing for the "
            "timeout of shards(timeout=...). Its own output says why; start all processes again."
        ) from error


_ALONE = Ranks()
_RANKS: ContextVar[Ranks] = ContextVar("ranks", default=_ALONE)


def current_ranks() -> Ranks:
    """Processes that fits share their samples with now.

    Returns
    -------
    Ranks
    """
    return _RANKS.get()


@contextmanager
def shards(group: Any = None, *, backend: str | None = None, timeout: float = 600.0) -> Iterator[Ranks]:
    """Fit to the samples of all processes of a group, each of which passes its own.

    Within it, ``fit`` of :class:`~skrelmetric.RAMLLinear`, :class:`~skrelmetric.HRAMLTransformer` and
    :class:`~skrelmetric.DRMLTransformer` takes this process's rows, any number of them or none, and learns from those
    of all, as if one process had them in the order of the ranks; validation samples are the same in every process.
    Everything else, scaling and neighbours included, sees the rows that it is given, and other threads are not in it.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None, default=None
        Processes that share the samples. None is all; where torch.distributed is not initialised, it is for the time of
        the context, from the environment that torchrun sets, and without one this process is alone.
    backend : str or None, default=None
        Carrier of messages, as :func:`torch.distributed.init_process_group` takes it. None is gloo, and NCCL
        between GPUs, one for each process of a machine. Of no effect where torch.distributed is initialised.
    timeout : float, default=600.0
        Seconds that a process waits for the others, likewise. One that dies is noticed earlier.

    Yields
    ------
    Ranks
        This process among the others, and sums over all.

    Examples
    --------
    >>> import numpy as np
    >>> from skrelmetric import RAMLLinear
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.distributed import shards
    >>> X, Y = load_emotions(return_X_y=True)
    >>> with shards() as ranks:  # torchrun --nproc-per-node 2 script.py
    ...     rows = ranks.rows(len(X))
    ...     metric = RAMLLinear().fit(X[rows], Y[rows])
    >>> metric.transform(X).shape[0]
    593
    """
    begun = False
    if group is None and not dist.is_initialized() and "WORLD_SIZE" in os.environ:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        backend = backend or ("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        with _contact():
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        begun = True
    ranks = _Group(group) if dist.is_initialized() else _ALONE
    token = _RANKS.set(ranks)
    try:
        yield ranks
    finally:
        _RANKS.reset(token)
        if begun:
            dist.destroy_process_group()
            gc.collect()  # what the threads of the group still hold goes before the interpreter does
