from .equations import (
    add_to_moments as add_to_moments,
)
from .equations import (
    balanced_bids as balanced_bids,
)
from .equations import (
    disturbed as disturbed,
)
from .equations import (
    estimated_rate as estimated_rate,
)
from .equations import (
    externalities as externalities,
)
from .equations import (
    interest_system as interest_system,
)
from .equations import (
    loans as loans,
)
from .equations import (
    moments_of as moments_of,
)
from .equations import (
    moving_average as moving_average,
)
from .equations import (
    noise_scale as noise_scale,
)
from .equations import (
    rate_as_printed as rate_as_printed,
)
from .equations import (
    settle as settle,
)
from .utility_fit import (
    fit as fit,
)
from .utility_fit import (
    fitted_types as fitted_types,
)
from .utility_fit import (
    prior_center as prior_center,
)
