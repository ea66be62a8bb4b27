"""Records of the two-tier market: parameters, totals and metrics, with named fields."""

from __future__ import annotations

from ioa_marl.foundations.records import Record


class TwoTierRecord(Record):
    """Parameters of the connection of the tiers, as kernels read them; see `TwoTierParams` for their meaning."""

    lot: float
    """Lot size w [Mbit]."""
    relay_cost: float
    """Cost γ E_up of relaying one lot [units]."""
    fixed_delay_weight: float
    """Weight θ_j of a fixed agent's delay penalty [units]."""
    aerial_delay_weight: float
    """Weight θ_k of an aerial agent's squared delay [units/s²]."""
    hover_energy_price: float
    """Cost γ_k of hover energy [units/J]."""
    relay_time: float
    """Mean t_k_up from a fixed to an aerial agent [s]."""
    log_capacity_low: float
    """Logarithm of the least capacity κ_j [Mbit]."""
    log_capacity_high: float
    """Logarithm of the largest capacity κ_j [Mbit]."""
    time_per_mbit_low: float
    """Least λ/μ of an aerial agent [s/Mbit]."""
    time_per_mbit_high: float
    """Largest λ/μ of an aerial agent [s/Mbit]."""
    cost_low: float
    """Least unit cost of an aerial agent's computing [units/Mbit]."""
    cost_high: float
    """Largest unit cost of an aerial agent's computing [units/Mbit]."""
    hover_power_low: float
    """Least hover power in calm air [W]."""
    hover_power_high: float
    """Largest hover power in calm air [W]."""
    wind_low: float
    """Least factor of the wind on hover powers."""
    wind_high: float
    """Largest factor of the wind on hover powers."""


class TierTotals(Record):
    """Sums over the settled rounds of an episode."""

    mobile_profit: float
    """Profits of the mobile agents [units]."""
    fixed_profit: float
    """Profits of the fixed agents [units]."""
    aerial_profit: float
    """Profits of the aerial agents [units]."""
    follower_welfare: float
    """Utilities of the wireless agents [units]."""
    mobile_price: float
    """Mean price posted by the mobile agents [units/Mbit]."""
    fixed_price: float
    """Mean price posted by the fixed agents [units/Mbit]."""
    purchases: float
    """Number of wireless agents that bought."""
    overloaded: float
    """Number of fixed agents with excess load."""
    buyers: float
    """Number of buyers in the auctions."""
    trades: float
    """Number of trades in the auctions."""
    auctions_with_trade: float
    """Number of rounds with a trade."""
    auctions: float
    """Number of rounds with an auction: at least one buyer and one seller."""
    clearing_price: float
    """Clearing prices of the rounds with a trade [units per lot]."""
    auction_return: float
    """Returns of the auctioneer [units]."""
    auction_welfare: float
    """Welfares of the auctions [units]."""
    optimal_welfare: float
    """Optimal welfares of the auctions [units]."""
    messages: float
    """Number of listeners, summed over the broadcasts."""
    load: float
    """Load that the wireless agents want from the fixed agents [Mbit]."""
    unserved_load: float
    """Part of this load that was not served [Mbit]."""
    audited: float
    """Number of rounds whose regrets of the leaders are in the next two sums."""
    mobile_regret: float
    """Sums of the mobile agents' largest gains, each by another price in that round [units]."""
    fixed_regret: float
    """Sums of the fixed agents' largest gains, each by another price in that round [units]."""
    last_mobile_regret: float
    """The sum of the mobile agents in the last audited round alone [units]."""
    last_fixed_regret: float
    """The sum of the fixed agents in the last audited round alone [units]."""


class CourseTotals(Record):
    """Sums over the settled rounds of an episode of a dynamic market: what changes from round to round, and the QoE."""

    price_change: float
    """Mean absolute change of the leaders' prices since the round before [units/Mbit]."""
    changes: float
    """Number of rounds that have one before them."""
    share_change: float
    """Absolute changes of the shares of the wireless agents that bought in this round and in the one before."""
    repeated: float
    """Number of these wireless agents."""
    quality: float
    """QoE κ ln(1 + ε − t) ln(1 + t_n/ε) of what the wireless agents bought and what was served of it [units]."""


class TwoTierMetrics(Record):
    """Metrics of an episode; see `TwoTierGame`."""

    mobile_regret: float
    """Sum of the mobile agents' largest gains, each by another price in one round, mean over the rounds [units]."""
    fixed_regret: float
    """Sum of the fixed agents' largest gains, each by another price in one round, mean over the rounds [units]."""
    last_mobile_regret: float
    """The sum of the mobile agents in the last round alone [units]."""
    last_fixed_regret: float
    """The sum of the fixed agents in the last round alone [units]."""
    auction_regret: float
    """The best pair's return less the return achieved, summed over the rounds with an auction, per round [units]."""
    mobile_profit: float
    """Total profit of the mobile agents per round [units]."""
    fixed_profit: float
    """Total profit of the fixed agents per round [units]."""
    aerial_profit: float
    """Total profit of the aerial agents per round [units]."""
    follower_welfare: float
    """Total utility of the wireless agents per round [units]."""
    social_welfare: float
    """Total utility and all profits together per round [units]."""
    mobile_price: float
    """Mean price posted by mobile agents [units/Mbit]."""
    fixed_price: float
    """Mean price posted by fixed agents [units/Mbit]."""
    participation: float
    """Share of wireless agents that buy."""
    overloaded: float
    """Share of fixed agents with excess load."""
    unserved: float
    """Share of the fixed agents' load that is not served."""
    buyers: float
    """Buyers per round."""
    trades: float
    """Trades per round."""
    clearing_price: float
    """Mean price of the rounds with a trade, NaN without one [units per lot]."""
    auctions: float
    """Share of rounds with an auction: at least one buyer and one seller."""
    auction_return: float
    """Return of the auctioneer per auction, NaN without one [units]."""
    auction_efficiency: float
    """Welfare of all auctions over its maximum, NaN where that is 0."""
    messages: float
    """Number of listeners, summed over the broadcasts of a round."""


class DynamicMetrics(TwoTierMetrics):
    """Metrics of an episode of a dynamic market; see `TwoTierGame`."""

    price_change: float
    """Mean absolute change of the leaders' prices from round to round, NaN with one round [units/Mbit]."""
    share_stability: float
    """1 − mean |o_t − o_{t−1}| over the wireless agents that buy in two rounds in a row; NaN without one."""
    quality_of_experience: float
    """Mean QoE κ ln(1 + ε − t) ln(1 + t_n/ε) of a wireless agent with a task, NaN without one [units]."""
