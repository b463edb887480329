"""Images of data sets: their sizes, and what decodes them."""

from numbers import Integral
from types import ModuleType

__all__ = ["check_size", "pillow"]


def check_size(size: int, largest: int) -> None:
    """Refuse a height and width that is no whole number from 1 to the largest."""
    if not isinstance(size, Integral) or isinstance(size, bool) or not 1 <= size <= largest:
        raise ValueError(f"size={size!r} must be a whole number from 1 to {largest}.")


def pillow(who: str) -> ModuleType:
    """Pillow's module of images, which a function of some name needs.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"{who} decodes images with Pillow: pip install 'skrelmetric[images]'.") from error
    return Image
