"""Files and lines that are there whole or not at all, and the end of what killed processes left of them."""

import glob
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

__all__ = ["append_line", "replacing"]


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
    _clear(path.parent.glob(f"*{glob.escape(path.suffix)}.????????.part"))  # the middle is what tempfile draws
    with _unfinished(path) as partial:
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
def _unfinished(path: Path) -> Iterator[str]:
    """New file beside another, locked until the end of this block or of this process, where the system can do that."""
    if sys.platform == "win32":  # which renames no file that is open
        yield _made(path)
        return
    partial, descriptor = _locked(path)
    try:
        yield partial
    finally:
        os.close(descriptor)


def _locked(path: Path) -> tuple[str, int]:
    """New file beside another, and its descriptor; it is made again if another process took it for left by a third."""
    while True:
        partial = _made(path)
        with suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_RDONLY)
            with suppress(OSError):  # some file systems have no locks, and nothing is removed there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.exists(partial):
                return partial, descriptor
            os.close(descriptor)


def _made(path: Path) -> str:
    descriptor, partial = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    os.close(descriptor)
    return partial


def append_line(path: Path, line: str, header: str = "") -> None:
    """Append a line to a file, which is made if need be, whole even if other processes do the same.

    Parameters
    ----------
    path : Path
        The file, in a folder that is there.
    line : str
        The line, with its end.
    header : str, default=""
        First line of the file, which is written to an empty one; "" for none.

    Raises
    ------
    ValueError
        If the file begins with another line than the header.
    OSError
        If it cannot be written.
    """
    with open(path, "a+b") as file, _locked_meanwhile(file.fileno()):
        file.seek(0)
        first = file.readline().decode(errors="replace")
        if first and header and first != header:
            raise ValueError(f"{path} is there and begins with {first!r}, not with {header!r}. Name another file.")
        file.write((line if first else header + line).encode())
        file.flush()


@contextmanager
def _locked_meanwhile(descriptor: int) -> Iterator[None]:
    """Lock an open file among processes, where the system can do that."""
    if sys.platform == "win32":
        yield
        return
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone leaves it to a child that was forked meanwhile


def _clear(leftovers: Iterable[Path]) -> None:
    """Remove files that no process holds any more; others, and those of other users, stay."""
    if sys.platform == "win32":
        return
    for path in leftovers:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


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
