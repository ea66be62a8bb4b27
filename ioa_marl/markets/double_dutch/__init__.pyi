from .auction import (
    AuctionResult as AuctionResult,
)
from .auction import (
    simulate as simulate,
)
from .clairvoyant import (
    ClairvoyantPlan as ClairvoyantPlan,
)
from .clairvoyant import (
    clairvoyant_bounds as clairvoyant_bounds,
)
from .clairvoyant import (
    clairvoyant_plan as clairvoyant_plan,
)
from .params import (
    PRESETS as PRESETS,
)
from .params import (
    DoubleDutchParams as DoubleDutchParams,
)
from .params import (
    preset as preset,
)
from .references import (
    Frontier as Frontier,
)
from .references import (
    Matching as Matching,
)
from .references import (
    best_fixed_step as best_fixed_step,
)
from .references import (
    fixed_step_frontier as fixed_step_frontier,
)
from .references import (
    sorted_matching as sorted_matching,
)
from .rivals import (
    DoubleAuctionOutcome as DoubleAuctionOutcome,
)
from .rivals import (
    k_double_auction as k_double_auction,
)
from .rivals import (
    mcafee as mcafee,
)
from .rivals import (
    sbba as sbba,
)
from .rivals import (
    trade_reduction as trade_reduction,
)
from .rivals import (
    vcg_double_auction as vcg_double_auction,
)
from .state import (
    allocate_state as allocate_state,
)
from .step_tables import (
    StepTable as StepTable,
)
from .step_tables import (
    TableShape as TableShape,
)
from .step_tables import (
    search_step_table as search_step_table,
)
from .step_tables import (
    step_table as step_table,
)
