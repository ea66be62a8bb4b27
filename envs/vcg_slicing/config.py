"""Settings of the slicing market's game: `VCGSlicingConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from ioa_marl.envs.phased import check_common
from ioa_marl.foundations.parameters import check_integer, require
from ioa_marl.markets.vcg_slicing.params import SlicingParams


@dataclass(frozen=True)
class VCGSlicingConfig(SlicingParams):
    """Settings of the environment: those of the market, and what the agents observe."""

    observation: str = "paper"
    """Observation of a slice's agent: ``paper`` (6 features) or ``extended`` (12, with marginal utilities)."""
    instance: int | None = None
    """Which providers: number of the instance. None: that of the seed."""
    max_cycles: int | None = None
    """Cut episodes off after this many steps (truncation). None: only the market's own rules end them."""

    def __post_init__(self) -> None:
        """Check the settings that the market does not know."""
        super().__post_init__()
        check_integer(self, "providers", 2, 1_000_000)  # one alone gets everything whatever it does
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
