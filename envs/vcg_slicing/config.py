"""Settings of the slicing market's game: `VCGSlicingConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from ioa_marl.envs.phased import check_common
from ioa_marl.foundations.parameters import check_integer, require
from ioa_marl.markets.vcg_slicing.params import SlicingParams


@dataclass(frozen=True)
class VCGSlicingConfig(SlicingParams):
    """Settings of the environment: those of the market, and the observations of the agents."""

    observation: str = "paper"
    """Observation of a slice's agent: ``paper`` (6 features) or ``extended`` (12, with marginal utilities)."""
    instance: int | None = None
    """Number of the instance, which fixes the providers. None: the seed."""
    max_cycles: int | None = None
    """Number of steps after which an episode is truncated. None: only the rules of the market end it."""

    def __post_init__(self) -> None:
        """Check the settings that only the environment has."""
        super().__post_init__()
        check_integer(self, "providers", 2, 1_000_000)  # a single provider has everything, whatever its agent does
        require(
            self.redraw == "never" or self.instance is None,
            "instance", self.instance, f"none with redraw={self.redraw}: there is nothing that stays the same",
        )  # fmt: skip
        require(self.observation in ("paper", "extended"), "observation", self.observation, "paper or extended")
        require(
            self.redraw == "never" or self.observation == "extended",
            "observation", self.observation,
            f"extended with redraw={self.redraw}: shares alone say nothing about providers that are new",
        )  # fmt: skip
        check_common(self)
