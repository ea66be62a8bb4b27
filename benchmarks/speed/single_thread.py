"""One thread for everything. Import this before NumPy, Numba or torch: they read these settings once."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"


def limit_torch() -> None:
    """Let torch use one thread as well."""
    import torch

    torch.set_num_threads(1)
