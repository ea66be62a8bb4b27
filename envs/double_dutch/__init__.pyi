from .game import (
    DoubleDutchConfig as DoubleDutchConfig,
)
from .game import (
    DoubleDutchGame as DoubleDutchGame,
)
