"""A window for ``render_mode="human"``."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ioa_marl.envs.rendering.figures import PAPER


class Window:
    """A window in which each frame replaces the one before, without blocking the program.

    It obeys ``MPLBACKEND``. A window that the user has closed stays closed.

    Parameters
    ----------
    title : str
        Title of the window.

    Raises
    ------
    RuntimeError
        If there is no display, or Matplotlib has no toolkit that can open a window.
    """

    def __init__(self, title: str) -> None:
        backend = os.environ.get("MPLBACKEND")
        if not (backend or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise RuntimeError("render_mode='human' needs a display; use 'rgb_array' or 'ansi', or set MPLBACKEND")
        import matplotlib.pyplot as plt

        # Matplotlib reads MPLBACKEND only once, when it is imported.
        if backend and plt.get_backend().lower() != backend.lower():
            plt.switch_backend(backend)
        with plt.rc_context({"toolbar": "None"}):
            self._figure = plt.figure(facecolor=PAPER)
        manager = self._figure.canvas.manager
        if manager is not None:
            manager.set_window_title(title)
        self._interactive = getattr(self._figure.canvas, "required_interactive_framework", None) is not None
        # Without a toolkit or a working display Matplotlib silently chooses a backend that has no windows.
        if not (backend or self._interactive):
            self.close()
            raise RuntimeError(
                "render_mode='human' can open no window: check DISPLAY and that PyQt6 or tkinter is "
                "installed, or use 'rgb_array' or 'ansi'"
            )
        self._image: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the window is still open."""
        import matplotlib.pyplot as plt

        return plt.fignum_exists(self._figure.number)

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show a frame.

        Parameters
        ----------
        frame : ndarray of uint8, shape (height, width, 3)
            Red, green and blue of each pixel, from 0 to 255; the size may change from frame to frame.
        """
        if not self.is_open:
            return
        if self._image is None or self._image.get_array().shape != frame.shape:
            self._open(frame)
        else:
            self._image.set_data(frame)
        if self._interactive:
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()
        else:
            self._figure.canvas.draw()

    def _open(self, frame: NDArray[np.uint8]) -> None:
        self._figure.clear()
        self._figure.set_size_inches(frame.shape[1] / self._figure.dpi, frame.shape[0] / self._figure.dpi)
        axes = self._figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        self._image = axes.imshow(frame, interpolation="antialiased")
        if self._interactive:
            self._figure.show()

    def close(self) -> None:
        """Close the window, if it is still open."""
        import matplotlib.pyplot as plt

        plt.close(self._figure)
