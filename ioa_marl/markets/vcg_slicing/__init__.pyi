from .baselines import (
    equal_split as equal_split,
)
from .baselines import (
    greedy_split as greedy_split,
)
from .baselines import (
    kelly_split as kelly_split,
)
from .baselines import (
    utilities as utilities,
)
from .optimum import (
    ClarkeOutcome as ClarkeOutcome,
)
from .optimum import (
    WelfareOptimum as WelfareOptimum,
)
from .optimum import (
    clarke_payments as clarke_payments,
)
from .optimum import (
    welfare_optimum as welfare_optimum,
)
from .params import (
    PRESETS as PRESETS,
)
from .params import (
    SlicingParams as SlicingParams,
)
from .params import (
    allocate_market as allocate_market,
)
from .params import (
    preset as preset,
)
