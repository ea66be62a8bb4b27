"""Error handling around Hydra's launchers: their errors become one line, like those of the jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ioa_marl.foundations import interrupts
from ioa_marl.foundations.errors import UserError
from ioa_marl.foundations.files import check_working_folder
from ioa_marl.training import workers

_RAISE = "HYDRA_FULL_ERROR"
"""Environment variable with which Hydra raises errors; without it Hydra prints tracebacks and exits."""


@contextmanager
def guarded(scratch: Path) -> Iterator[None]:
    """Stop the workers when the command is interrupted, and turn errors of the launcher into one line.

    Parameters
    ----------
    scratch : Path
        Folder in which each worker locks a file while it has a job.

    Raises
    ------
    UserError
        If the launcher cannot run the jobs.
    """
    from joblib.externals.loky.process_executor import BrokenProcessPool

    former = os.environ.get(_RAISE)
    os.environ[_RAISE] = "1"
    try:
        with interrupts.preceded_by(lambda: workers.stop(scratch)):
            yield
    except BrokenProcessPool as error:
        raise UserError(
            "a process of the sweep was killed, as the system does when memory runs out; run the command again to go on"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the sweep cannot be run: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError) as error:  # of the launcher's settings: jobs catch their own errors
        raise UserError(f"the sweep cannot be run: {' '.join(str(error).split())}") from error
    except OSError as error:
        check_working_folder()
        raise UserError(f"the sweep cannot go on: {error}") from error
    finally:
        os.environ.pop(_RAISE)
        if former is not None:
            os.environ[_RAISE] = former
