"""Files that are there whole or not at all, and the end of what killed processes leave of them."""

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

__all__ = ["replacing", "temporary_folder"]

_PART = ".????????.part"  # what tempfile draws, and the end of all that is unfinished here


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """File that takes the place of another once it is on the disk; what fails before leaves that as it was.

    What killed processes left beside it, of files with the same suffix, is removed.

    Parameters
    ----------
    path : Path
        The file that is made or replaced, in a folder that is there.

    Yields
    ------
    file
        Open for reading and writing, under a name that ends in ".part".

    Raises
    ------
    OSError
        If it cannot be written, as where the disk is full.
    """
    _clear(path.parent.glob(f"*{glob.escape(path.suffix)}{_PART}"))
    with _held(lambda: _closed(*tempfile.mkstemp(".part", f"{path.name}.", path.parent))) as partial:
        try:
            with open(partial, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    _sync(path.parent)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Folder for as long as it is needed; those of killed processes are removed first."""
    _clear(Path(tempfile.gettempdir()).glob(f"skrelmetric{_PART}"))
    with _held(lambda: tempfile.mkdtemp(".part", "skrelmetric.")) as folder:
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(make: Callable[[], str]) -> Iterator[str]:
    """New file or folder, locked until the end of this block or of this process, where the system can do that."""
    if sys.platform == "win32":
        yield make()
        return
    path, descriptor = _locked(make)
    try:
        yield path
    finally:
        os.close(descriptor)


def _locked(make: Callable[[], str]) -> tuple[str, int]:
    """New file or folder, and its open descriptor; it is made again if another process took it for a leftover."""
    while True:
        path = make()
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # some file systems have no locks, and nothing is removed there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.exists(path):
                return path, descriptor
            os.close(descriptor)


def _clear(leftovers: Iterable[Path]) -> None:
    """Remove files and folders that no process holds any more; others, and those of other users, stay."""
    if sys.platform == "win32":  # which cannot lock a folder
        return
    for path in leftovers:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)


def _closed(descriptor: int, path: str) -> str:
    os.close(descriptor)
    return path


def _sync(folder: Path) -> None:
    """Put the names of a folder on the disk, where the system can do that."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
