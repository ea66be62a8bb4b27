"""Evaluation: the protocol of scores, references, audits of mechanisms, and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ioa_marl.evaluation.external import ScoreResult, score

__all__ = ["ScoreResult", "score"]


def __getattr__(name: str) -> Any:
    # Imported on demand, because the audits and statistics need no torch.
    if name in __all__:
        from ioa_marl.evaluation import external

        return getattr(external, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
