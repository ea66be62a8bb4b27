"""Audits of the modified second-bid auction.

`audit` is the audit of any policies in the market. `station_regret` and `episode_regret` audit a rule or an auctioneer
that is a plain function, and `adverse_selection` compares the tasks of the UAV with those of the stations.
"""

from ioa_marl.evaluation.audits.second_bid.adverse_selection import (
    AdverseSelection,
    adverse_selection,
    selected_values,
)
from ioa_marl.evaluation.audits.second_bid.auditing import audit
from ioa_marl.evaluation.audits.second_bid.misreports import (
    Auctioneer,
    EpisodeRegret,
    Rule,
    StationRegret,
    episode_regret,
    fixed,
    scripted_auctioneer,
    station_regret,
    surplus_maximising,
)

__all__ = [
    "AdverseSelection",
    "Auctioneer",
    "EpisodeRegret",
    "Rule",
    "StationRegret",
    "adverse_selection",
    "audit",
    "episode_regret",
    "fixed",
    "scripted_auctioneer",
    "selected_values",
    "station_regret",
    "surplus_maximising",
]
