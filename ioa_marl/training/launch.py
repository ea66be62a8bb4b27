"""Hydra's launchers under the command: what goes wrong around the jobs is told in one line as well."""

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
"""With this in the environment Hydra raises errors; without, it prints tracebacks and exits."""


@contextmanager
def guarded(scratch: Path) -> Iterator[None]:
    """Run jobs inside: their workers end with the command, and what goes wrong around them is one line.

    Parameters
    ----------
    scratch : Path
        Folder in which workers make themselves known.

    Raises
    ------
    UserError
        If the launcher cannot run them.
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
    except (ValueError, TypeError) as error:  # of settings of the launcher: a job's own errors do not leave it
        raise UserError(f"the sweep cannot be run: {' '.join(str(error).split())}") from error
    except OSError as error:
        check_working_folder()
        raise UserError(f"the sweep cannot go on: {error}") from error
    finally:
        os.environ.pop(_RAISE)
        if former is not None:
            os.environ[_RAISE] = former
