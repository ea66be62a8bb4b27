from .game import (
    TwoTierConfig as TwoTierConfig,
)
from .game import (
    TwoTierGame as TwoTierGame,
)
