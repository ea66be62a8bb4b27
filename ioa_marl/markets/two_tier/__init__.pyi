from .deviations import (
    DeviationEvaluator as DeviationEvaluator,
)
from .equilibrium import (
    Equilibrium as Equilibrium,
)
from .equilibrium import (
    solve_equilibrium as solve_equilibrium,
)
from .params import (
    PRESETS as PRESETS,
)
from .params import (
    TwoTierParams as TwoTierParams,
)
from .params import (
    allocate_market as allocate_market,
)
from .params import (
    draw_markets as draw_markets,
)
from .params import (
    preset as preset,
)
from .references import (
    best_fixed_pair as best_fixed_pair,
)
from .references import (
    best_posted_pair as best_posted_pair,
)
