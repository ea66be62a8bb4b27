from .auction import (
    Allocation as Allocation,
)
from .auction import (
    allocate as allocate,
)
from .params import (
    PRESETS as PRESETS,
)
from .params import (
    SecondBidParams as SecondBidParams,
)
from .params import (
    preset as preset,
)
from .providers import (
    Providers as Providers,
)
from .providers import (
    draw_providers as draw_providers,
)
from .providers import (
    market_from as market_from,
)
from .references import (
    Calibration as Calibration,
)
from .references import (
    ParetoOptimum as ParetoOptimum,
)
from .references import (
    Tasks as Tasks,
)
from .references import (
    best_threshold as best_threshold,
)
from .references import (
    calibration as calibration,
)
from .references import (
    contract_price as contract_price,
)
from .references import (
    draw_tasks as draw_tasks,
)
from .references import (
    full_information as full_information,
)
from .references import (
    highest_bid_ratio as highest_bid_ratio,
)
from .references import (
    pareto_optimum as pareto_optimum,
)
from .traces import (
    TraceOutcome as TraceOutcome,
)
from .traces import (
    auction_traces as auction_traces,
)
from .valuation import (
    Valuations as Valuations,
)
from .valuation import (
    common_values as common_values,
)
from .valuation import (
    match_values as match_values,
)
from .valuation import (
    pixel_accuracy as pixel_accuracy,
)
from .valuation import (
    valuations as valuations,
)
