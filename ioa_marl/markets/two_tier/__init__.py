"""Two markets in one: fixed and mobile helpers price computing below, and buy lots in a double Dutch auction above.

It joins `ioa_marl.markets.stackelberg` and `ioa_marl.markets.double_dutch`, and is the only room that uses others.
`params` holds the parameters, `kernels` the equations of one market, `drivers` batches, `deviations` what leaders
gain by another price or pair of steps, `references` the best constants.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
