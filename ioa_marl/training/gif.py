"""Animated GIFs with one palette for all frames, which keeps the files small where frames change little."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ioa_marl.foundations.errors import UserError

COLOURS = 255
"""Colours of the palette: of the 256 that a GIF can have, one is reserved for "unchanged"."""
_SAMPLE = 12
"""Number of frames from which the palette is made; they are evenly spaced and include the last one."""

_CHUNK = 4096
"""Number of colours that are compared with the palette at a time."""


class Gif:
    """An animation that grows frame by frame; frames are stored compressed, so that long animations fit into memory."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._durations: list[int] = []
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: NDArray[np.uint8], seconds: float) -> None:
        """Append a frame.

        Parameters
        ----------
        frame : ndarray of uint8, shape (height, width, 3)
            Red, green and blue of each pixel, 0 to 255; all frames must have the same size.
        seconds : float
            How long the frame is shown [s]; a GIF rounds it to hundredths of a second.
        """
        if self._frames and frame.shape != self._shape:
            raise UserError(f"frames of an animation must have one size: {self._shape} and {frame.shape} were drawn")
        self._shape = frame.shape
        self._frames.append(zlib.compress(frame.tobytes(), 1))
        self._durations.append(10 * max(1, round(100 * seconds)))

    def encode(self) -> bytes:
        """Return the content of the GIF file; equal successive frames become one, shown for as long as all of them."""
        palette = Palette(self._packed(i) for i in evenly(len(self), _SAMPLE))
        first, *others = (palette.image(self._packed(i)) for i in range(len(self)))
        file = io.BytesIO()
        # `optimize` would give every frame a palette of its own.
        first.save(
            file, format="GIF", save_all=True, append_images=others, duration=self._durations, loop=0,
            optimize=False, disposal=1,
        )  # fmt: skip
        return file.getvalue()

    def _packed(self, i: int) -> NDArray[np.uint32]:
        return packed(np.frombuffer(zlib.decompress(self._frames[i]), np.uint8).reshape(self._shape))


def packed(frame: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return a frame, uint8 (height, width, 3), with one number 0xRRGGBB per pixel, uint32 (height, width)."""
    red, green, blue = np.moveaxis(frame.astype(np.uint32), -1, 0)
    colours: NDArray[np.uint32] = red << 16 | green << 8 | blue
    return colours


class Palette:
    """The colours of an animation.

    The most common colours are those that were drawn deliberately; they are kept exactly. The rest, mostly smoothed
    edges, are clustered. There is no dithering: noise would make flat areas differ from frame to frame.

    Parameters
    ----------
    frames : iterable of ndarray of uint32, shape (height, width)
        Frames to choose the colours from, as `packed` returns them.
    """

    def __init__(self, frames: Iterable[NDArray[np.uint32]]) -> None:
        counted = [np.unique(frame, return_counts=True) for frame in frames]
        colours, where = np.unique(np.concatenate([colours for colours, _ in counted]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([counts for _, counts in counted]))
        by_count = np.argsort(-counts, kind="stable")
        exact, rest = by_count[: COLOURS // 2], by_count[COLOURS // 2 :]
        chosen = _channels(colours[exact])
        if len(rest):
            # Weighted by the square root of their number, so that rare colours survive among the greys of letters.
            weights = np.ceil(np.sqrt(counts[rest])).astype(np.int64)
            cloud = np.repeat(_channels(colours[rest]), weights, axis=0)
            clusters = Image.fromarray(cloud[None]).quantize(COLOURS - len(chosen), Image.Quantize.MEDIANCUT)
            centres = np.array(clusters.getpalette(), np.uint8).reshape(-1, 3)
            chosen = np.concatenate([chosen, centres[: COLOURS - len(chosen)]])
        self.colours = chosen
        """Red, green and blue of each colour, uint8 (colours, 3)."""
        self._nearest = np.zeros(1 << 24, np.uint8)
        self._known = np.zeros(1 << 24, np.bool_)

    def image(self, frame: NDArray[np.uint32]) -> Image.Image:
        """Return a frame, uint32 (height, width), as an image in which each pixel has the nearest of these colours."""
        unknown = np.unique(frame[~self._known[frame]])
        # Pillow's own search rounds colours first, and then white would not stay white.
        for start in range(0, len(unknown), _CHUNK):
            some = unknown[start : start + _CHUNK]
            distance = (_channels(some)[:, None].astype(np.int64) - self.colours) ** 2
            self._nearest[some] = distance.sum(axis=2).argmin(axis=1)
        self._known[unknown] = True
        image = Image.fromarray(self._nearest[frame]).convert("P")
        image.putpalette(np.ascontiguousarray(self.colours).tobytes())
        return image


def evenly(count: int, most: int) -> Sequence[int]:
    """Return up to ``most`` evenly spaced numbers of 0 … ``count`` − 1, including the first and the last."""
    return sorted({(count - 1) * k // (most - 1) for k in range(most)})


def _channels(colours: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
