"""Notes on errors of functions and modules that users wrote: what they were given."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["noted"]


@contextmanager
def noted(note: str) -> Iterator[None]:
    """Context of a call of a user's own code, whose errors get a note and stay what they are."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise
