from .equilibrium import (
    answer_to as answer_to,
)
from .equilibrium import (
    best_response_price as best_response_price,
)
from .equilibrium import (
    follower_utilities as follower_utilities,
)
from .equilibrium import (
    joint_maxima as joint_maxima,
)
from .equilibrium import (
    latencies as latencies,
)
from .equilibrium import (
    maximise_joint_profit as maximise_joint_profit,
)
from .equilibrium import (
    nash_conv as nash_conv,
)
from .equilibrium import (
    quality_of_experience as quality_of_experience,
)
from .equilibrium import (
    search_batch as search_batch,
)
from .equilibrium import (
    solve_batch as solve_batch,
)
from .equilibrium import (
    solve_equilibrium as solve_equilibrium,
)
from .figures import (
    link_energy as link_energy,
)
from .instances import (
    market_from as market_from,
)
from .params import (
    LEADERS as LEADERS,
)
from .params import (
    PRESETS as PRESETS,
)
from .params import (
    StackelbergParams as StackelbergParams,
)
from .params import (
    allocate_state as allocate_state,
)
from .params import (
    draw_markets as draw_markets,
)
from .params import (
    preset as preset,
)
from .params import (
    start_episodes as start_episodes,
)
from .references import (
    best_posted_pair as best_posted_pair,
)
from .references import (
    equilibrium_on_grid as equilibrium_on_grid,
)
from .references import (
    side_profits as side_profits,
)
from .results import (
    BestResponse as BestResponse,
)
from .results import (
    Equilibrium as Equilibrium,
)
from .results import (
    JointMaximum as JointMaximum,
)
from .results import (
    NashConv as NashConv,
)
from .results import (
    Outcome as Outcome,
)
from .results import (
    Trace as Trace,
)
