from .checkpoint import (
    load as load,
)
from .checkpoint import (
    save as save,
)
from .compile import (
    kernel as kernel,
)
from .compile import (
    machine_code as machine_code,
)
from .errors import (
    CannotPlayError as CannotPlayError,
)
from .errors import (
    UserError as UserError,
)
from .parameters import (
    ParameterError as ParameterError,
)
from .parameters import (
    added_setting as added_setting,
)
from .parameters import (
    check_integer as check_integer,
)
from .parameters import (
    check_number as check_number,
)
from .parameters import (
    check_range as check_range,
)
from .parameters import (
    require as require,
)
from .paths import (
    cache_folder as cache_folder,
)
from .philox import (
    fill_uniform as fill_uniform,
)
from .philox import (
    philox_block as philox_block,
)
from .philox import (
    to_unit as to_unit,
)
