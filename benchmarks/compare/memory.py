"""Memory of this process, as Linux tells it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Resident memory of this process in MiB: ``"before"`` the block and, once it is over, the ``"peak"`` within it.

    The kernel keeps the peak itself, so that no peak is missed, and starts anew on demand. What this
    process holds anyway is in both: the interpreter, its libraries and all data loaded so far. Figures of two blocks
    are comparable where each had a process of its own. Elsewhere than on Linux there are none.
    """
    memory: dict[str, float] = {}
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    except OSError:
        yield memory
        return
    memory["before"] = mebibytes("VmHWM")
    yield memory
    memory["peak"] = mebibytes("VmHWM")


def mebibytes(kind: str) -> float:
    """Memory of this process in MiB, of a kind that Linux has a name for.

    Parameters
    ----------
    kind : str
        Such as "VmHWM", the peak of what is resident, or "RssAnon", what is resident and no file's.

    Raises
    ------
    OSError
        Elsewhere than on Linux.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024
