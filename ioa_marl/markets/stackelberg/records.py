"""Records of the Stackelberg market: parameters, traits of agents, results and metrics, with named fields."""

from __future__ import annotations

from ioa_marl.foundations.records import Record


class StackelbergRecord(Record):
    """Parameters of the market as kernels read them; see `StackelbergParams` for their meaning."""

    wireless: int
    """Number of wireless agents N."""
    mobile: int
    """Number of mobile agents I."""
    fixed: int
    """Number of fixed agents J."""
    rounds: int
    """Rounds in an episode."""
    latency_case: int
    """Index into `follower.LATENCY_CASES`."""
    as_printed: bool
    """Whether nobody pays for the mobility factor."""
    congestion: bool
    """Whether wireless agents with a task share the speed of their mobile agent."""
    dynamics: bool
    """Whether conditions change between rounds."""
    max_tasks: int
    """Largest number of tasks in a round."""
    max_iterations: int
    """Largest number of rounds of Algorithm 2."""
    price_cap: float
    """Largest unit price [units/Mbit]."""
    deviation_step: float
    """Step of the grid on which better prices are searched [units/Mbit]."""
    deviation_tolerance: float
    """Width of the bracket at which the refinement of a best price stops [units/Mbit]."""
    price_tolerance: float
    """Largest change of prices in the last round of Algorithm 2 [units/Mbit]."""
    nash_tolerance: float
    """Largest NashConv of an equilibrium, relative to the leaders' total profit."""
    spread: float
    """Relative half-width of the quantities that differ between agents."""
    workload: float
    """Mean workload of a task [Mbit]."""
    upload_time: float
    """Mean transmission time t_up [s]."""
    tolerable_delay: float
    """Mean tolerable delay ε [s]."""
    qoe_weight: float
    """Mean weight κ ln(1 + t_n/ε) of the quality of experience [units]."""
    efficiency: float
    """Mean spectral efficiency B̄ [bit/s/Hz]."""
    mobile_energy: float
    """Mean energy cost of a link to a mobile agent [units], for 1 bit/s/Hz."""
    fixed_energy: float
    """Mean energy cost of a link to a fixed agent [units], for 1 bit/s/Hz."""
    cycles_per_mbit: float
    """Computing λ [cycles/Mbit]."""
    mobile_speed: float
    """Mean speed μ_i of a mobile agent [cycles/s]."""
    fixed_speed: float
    """Mean speed μ_j of a fixed agent [cycles/s]."""
    aerial_speed: float
    """Mean speed μ_k of an aerial agent [cycles/s]."""
    aerial_share: float
    """Mean offloading ratio α of a fixed agent."""
    relay_time_low: float
    """Least t_k_up from a fixed to an aerial agent [s]."""
    relay_time_high: float
    """Largest t_k_up [s]."""
    mobile_cost_low: float
    """Least unit cost of a mobile agent [units/Mbit]."""
    mobile_cost_high: float
    """Largest unit cost of a mobile agent [units/Mbit]."""
    fixed_cost_low: float
    """Least unit cost of a fixed agent [units/Mbit]."""
    fixed_cost_high: float
    """Largest unit cost of a fixed agent [units/Mbit]."""
    mobility_weight: float
    """Weight of idle resources times relative speed in the mobility factor."""
    mobility_offset: float
    """Mobility factor without idle resources."""
    lowest_idle: float
    """Least idle share of a mobile agent's resources."""
    velocity: float
    """Mean speed of wireless and mobile agents [m/s]."""
    velocity_deviation: float
    """Standard deviation of the speeds [m/s]."""
    velocity_range: float
    """Difference of largest and smallest speed [m/s]."""
    memory: float
    """Gauss-Markov memory from round to round."""
    shadowing: float
    """Standard deviation of the slow fading [dB]."""
    fading_limit: float
    """Largest ratio of a channel gain to its mean."""
    arrivals: float
    """Mean number of tasks in a round."""
    handover: bool
    """Whether wireless agents change to other leaders."""
    mobile_departure: float
    """Rate of departure from a mobile agent, per round and per relative speed [s/m]; see `mobility`."""
    fixed_departure: float
    """Rate of departure from a fixed agent, per round and per speed [s/m]."""
    independent_fading: bool
    """Whether the two links of a wireless agent fade independently."""
    least_mobile_cost: float
    """Least unit cost of a mobile agent [units/Mbit]; this and the following bounds scale the observations."""
    most_mobile_cost: float
    """Largest unit cost of a mobile agent [units/Mbit]."""
    least_fixed_cost: float
    """Least unit cost of a fixed agent [units/Mbit]."""
    most_fixed_cost: float
    """Largest unit cost of a fixed agent [units/Mbit]."""
    least_mobile_energy: float
    """Lower bound of the energy cost of a link to a mobile agent per task [units]."""
    most_mobile_energy: float
    """Upper bound of the energy cost of a link to a mobile agent per task [units]."""
    least_fixed_energy: float
    """Lower bound of the energy cost of a link to a fixed agent per task [units]."""
    most_fixed_energy: float
    """Upper bound of the energy cost of a link to a fixed agent per task [units]."""
    least_factor: float
    """Lower bound of the mobility factor."""
    most_factor: float
    """Upper bound of the mobility factor."""
    most_load: float
    """Upper bound of a wireless agent's load [Mbit]."""
    most_slack: float
    """Upper bound of 1 + ε − t_up [s]."""
    most_qoe_weight: float
    """Upper bound of κ ln(1 + t_n/ε) [units]."""
    most_energy: float
    """Upper bound of the energy cost of a link [units]."""
    most_mobile_time: float
    """Upper bound of λ/μ_i [s/Mbit]."""
    most_fixed_time: float
    """Upper bound of λ/μ_j [s/Mbit]."""
    most_aerial_time: float
    """Upper bound of λ/μ_k [s/Mbit]."""


class Traits(Record):
    """Quantities of one wireless agent in one round."""

    load: float
    """W [Mbit]."""
    qoe_weight: float
    """K = κ ln(1 + t_n/ε) [units]."""
    slack: float
    """A = 1 + ε − t_up [s]."""
    exponent: float
    """b = B̄ ln 2."""
    mobile_energy: float
    """c_i = ζ t_up n_B/g_i [units]."""
    fixed_energy: float
    """c_j = ζ t_up n_B/g_j [units]."""
    mobility_factor: float
    """Mobility factor m of the pair of it and its mobile agent."""


class Curve(Record):
    """Properties of a wireless agent's curve G, beside its segments."""

    lowest_share: float
    """Smallest share with 1 + ε − t > 0."""
    highest_share: float
    """Largest share with 1 + ε − t > 0."""
    sure_payment: float
    """Payment up to which it buys at any share [units]."""
    bend: float
    """b (c_i − c_j) [units]: negative where U need not be concave."""
    full_energy: float
    """e^b − 1, the energy of the whole workload for one unit of energy cost."""


class Segment(Record):
    """A segment of G on which one branch of the latency is the longest; it begins where the segment before ends."""

    end: float
    """Share at its right end."""
    base: float
    """A less the branch's latency at the share 0 [s]."""
    slope: float
    """Slope of the branch's latency in the share [s]."""
    left_marginal: float
    """G at its left end [units]; infinite where it is empty."""
    right_marginal: float
    """G at its right end [units]; infinite where it is empty."""


class EpisodeTotals(Record):
    """Sums over the rounds of an episode."""

    follower_welfare: float
    """Sum of the utilities of the wireless agents [units]."""
    leader_profit: float
    """Sum of the profits of the leaders [units]."""
    purchases: float
    """Number of purchases."""
    tasks: float
    """Number of wireless agents with a task, summed over the rounds."""
    nash_conv: float
    """Sum of the NashConv of the rounds [units]; this and what follows is added where rounds are audited."""
    last_nash_conv: float
    """NashConv of the last round [units]."""
    audited: float
    """Number of rounds whose NashConv is in the sum."""
    compared: float
    """Number of rounds that were compared with equilibria; the sums that follow are over these."""
    compared_profit: float
    """Total profit of the leaders [units]."""
    equilibrium_profit: float
    """Total profit of the leaders at the equilibrium of lowest profit, or at the prices of lowest NashConv [units]."""
    price_distance: float
    """Mean distance of the prices from the nearest equilibrium [units/Mbit]."""
    pure: float
    """Number of rounds with an equilibrium."""
    equilibria: float
    """Number of different equilibria that were found."""
    gain: float
    """Total profit less that in equilibrium [units], over rounds in which the profit gain is defined."""
    room: float
    """Largest joint profit less that in equilibrium [units], over the same rounds."""
    at_cap: float
    """Share of the sellers whose price is at the cap where the joint profit is largest."""


class GridPoint(Record):
    """Result of a leader at one price of the grid of a search."""

    profit: float
    """Profit [units]."""
    priced_load: float
    """Load that is paid for, mobility factor included [Mbit]."""
    buyers: float
    """Number of members that buy."""


class Deviation(Record):
    """The best price of one leader against the others' prices."""

    price: float
    """Best unit price [units/Mbit]."""
    profit: float
    """Profit at that price [units]."""
    present_profit: float
    """Profit at the price before the deviation [units]."""


class Solution(Record):
    """How the search for equilibria ended in one market."""

    converged: float
    """1 if an equilibrium was found, that is, prices whose NashConv is within tolerance."""
    rounds: float
    """Number of rounds of the first try, Algorithm 2 from the given start."""
    nash_conv: float
    """NashConv of the prices [units]: of the equilibrium of lowest total profit, or the lowest one of all tries."""
    leader_profit: float
    """Total profit of the leaders at these prices [units]."""
    equilibria: float
    """Number of different equilibria that were found."""
    tries: float
    """Number of tries: starts of Algorithm 2, and damped best responses."""


class StackelbergMetrics(Record):
    """Metrics of an episode; see `StackelbergGame`."""

    nash_conv: float
    """Mean over the rounds of the sum of the leaders' gains by deviating alone [units]."""
    last_nash_conv: float
    """The same in the last round [units]."""
    relative_nash_conv: float
    """NashConv over the leaders' total profit in equilibrium."""
    leader_profit: float
    """Total profit of the leaders per round [units]."""
    relative_profit: float
    """Total profit of the leaders over that at the equilibrium of lowest profit."""
    profit_gain: float
    """Total profit on a scale from the equilibrium's (0) to the largest joint profit (1)."""
    monopoly_at_cap: float
    """Share of the sellers whose price is at the cap where the joint profit is largest."""
    follower_welfare: float
    """Total utility of the wireless agents per round [units]."""
    social_welfare: float
    """Total utility and total profit together per round [units]."""
    price_distance: float
    """Mean distance of the prices from the nearest equilibrium [units/Mbit]."""
    participation: float
    """Share of wireless agents with a task that buy."""
    pure_equilibrium: float
    """Share of the compared rounds in which a pure equilibrium was found."""
    equilibria: float
    """Mean number of different equilibria that were found."""
