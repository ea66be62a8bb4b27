"""Economic markets as PettingZoo parallel environments, and `check_market` for your own ones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "ioa_marl.envs":
    raise ImportError("import this package as ioa_marl.envs, not from the repository's folder")

if TYPE_CHECKING:
    from ioa_marl.envs.core import Game, Role, Step
    from ioa_marl.envs.testing import check_market
    from ioa_marl.envs.vector import VectorGame

__all__ = ["Game", "Role", "Step", "VectorGame", "check_market"]

_MODULES = {"Game": "core", "Role": "core", "Step": "core", "VectorGame": "vector", "check_market": "testing"}


# Hidden from type checkers, to which every name would otherwise exist.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what is asked for: listing the markets must not cost the import of one."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
