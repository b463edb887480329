"""Lock of accelerators, for one fit at a time: among processes and threads, dropped by the system with its holder."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["exclusive"]

_SHARE = "SKRELMETRIC_SHARE_DEVICES"

# Process and thread of each fit in this process, by the path of its lock. A fork inherits the table, not the fit.
_HOLDERS: dict[Path, tuple[int, int]] = {}

if sys.platform == "win32":
    import msvcrt

    _USER = ""  # the temporary folder is the user's own

    def _lock(file: int) -> None:
        # Nobody can read what is locked, but the holder is to be read: the byte lies behind its number.
        os.lseek(file, 64, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int) -> None:
        os.lseek(file, 64, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    _USER = f"{os.getuid()}-"  # nobody has to write to the files of another user

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing alone leaves it to a child that was forked meanwhile


@contextmanager
def exclusive(device: "torch.device") -> Iterator["torch.device"]:
    """Hold an accelerator for one fit; nothing is held on the CPU.

    The lock is that of the physical device, whatever each process calls it, among all processes of one user that share
    a temporary folder. A thread that holds it may take it again. A process that dies releases it.

    Parameters
    ----------
    device : torch.device
        Where the fit computes.

    Yields
    ------
    torch.device
        The same, while the lock is held.

    Raises
    ------
    RuntimeError
        If another fit holds it, unless the environment variable SKRELMETRIC_SHARE_DEVICES is set, and not to 0.
    OSError
        If the temporary folder cannot be written to.
    """
    path, me = _lock_path(device), (os.getpid(), get_ident())
    if path is None or _HOLDERS.get(path) == me:
        yield device
        return
    # A link that somebody laid into the shared folder must not lead to another file.
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _take(file, device)
        _HOLDERS[path] = me
        try:
            yield device
        finally:
            del _HOLDERS[path]
            os.ftruncate(file, 0)
            _unlock(file)
    finally:
        os.close(file)


def _lock_path(device: "torch.device") -> Path | None:
    """Path of the lock, or None where none is to be held."""
    if device.type == "cpu" or os.environ.get(_SHARE, "0") not in ("", "0"):
        return None
    name = physical_name(device)
    return None if name is None else Path(tempfile.gettempdir()) / f"skrelmetric-{_USER}{name}.lock"


def _take(file: int, device: "torch.device") -> None:
    """Lock the file and write down who has it, or say who has."""
    holder = _refusal(file)
    if holder is not None:
        where = "another thread of this process" if holder == str(os.getpid()) else f"process {holder or 'unknown'}"
        raise RuntimeError(
            f"device={str(device)!r} is taken by a fit in {where}. An accelerator takes one fit at a time, since fits "
            "compete for its memory: pass n_jobs=1, or give each worker a device of its own by CUDA_VISIBLE_DEVICES, "
            f"as LocalCUDACluster of dask-cuda does. To share devices all the same, set {_SHARE}=1 in the environment."
        )
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, str(os.getpid()).encode())


def _refusal(file: int) -> str | None:
    """Process that keeps the file from being locked, "" for an unknown one; None if it is locked now."""
    for _ in range(50):
        try:
            _lock(file)
        except OSError:  # BlockingIOError, or on Windows PermissionError
            os.lseek(file, 0, os.SEEK_SET)
            holder = os.read(file, 20).decode()
            if holder:
                return holder
            sleep(0.002)  # it has just come, or is about to go
        else:
            return None
    return ""


def physical_name(device: "torch.device") -> str | None:
    """Name of an accelerator that is the same in every process, whichever devices that sees.

    Parameters
    ----------
    device : torch.device
        Accelerator; without an index, the current one.

    Returns
    -------
    str or None
        Its type and UUID, or its index among the visible devices where torch knows no UUID; fit for the name of a file.
        None if torch sees no such device: what only goes by its name need not be held.
    """
    import torch

    backend = torch.get_device_module(device)
    if not backend.is_available():
        return None
    properties = getattr(backend, "get_device_properties", lambda device: None)(device)
    index = torch.accelerator.current_device_index() if device.index is None else device.index
    identity = getattr(properties, "uuid", f"{index}-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
    return re.sub(r"[^\w-]", "_", f"{device.type}-{identity}")
