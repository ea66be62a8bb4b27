"""Audits of the double Dutch auction: of any auctioneer in play, and of double auctions as functions of the bids."""

from ioa_marl.evaluation.audits.double_dutch.audit import audit
from ioa_marl.evaluation.audits.double_dutch.branches import MisreportGains, misreport_gains
from ioa_marl.evaluation.audits.double_dutch.sealed import (
    GRID_POINTS,
    ROLES,
    IncentiveRegret,
    Mechanism,
    double_dutch_mechanism,
    incentive_regret,
    utility_curve,
)

__all__ = [
    "GRID_POINTS",
    "ROLES",
    "IncentiveRegret",
    "Mechanism",
    "MisreportGains",
    "audit",
    "double_dutch_mechanism",
    "incentive_regret",
    "misreport_gains",
    "utility_curve",
]
