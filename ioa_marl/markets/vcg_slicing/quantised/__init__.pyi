from .auction import (
    QuantisedOptimum as QuantisedOptimum,
)
from .auction import (
    QuantisedOutcome as QuantisedOutcome,
)
from .auction import (
    full_bytes as full_bytes,
)
from .auction import (
    full_variables as full_variables,
)
from .auction import (
    information_volume as information_volume,
)
from .auction import (
    quantised_bids as quantised_bids,
)
from .auction import (
    quantised_optimum as quantised_optimum,
)
from .auction import (
    quantised_payments as quantised_payments,
)
