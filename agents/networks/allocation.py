"""Freed memory is kept for the next array of that size.

The C library gives arrays of more than a few hundred kilobytes back to the system when they are freed, and gets every
page of the next one cleared anew. A stack of networks makes such arrays at every layer: in updates of 50 critics at
batch 256, half of the time went there. Numbers do not change.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``."""
_LARGEST_KEPT = 2**28
"""Arrays above this size [bytes] are given back: replay memories, not what a layer returns."""
_SMALLER = 2**25
"""What older versions of glibc allow at most."""


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed; returns whether it is one that can be asked."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    large = mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) or mallopt(_MMAP_THRESHOLD, _SMALLER)
    return bool(large and mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_KEPT))
