from .game import (
    StackelbergConfig as StackelbergConfig,
)
from .game import (
    StackelbergGame as StackelbergGame,
)
