from .core import Game as Game
from .core import Role as Role
from .core import Step as Step
from .testing import check_market as check_market
from .vector import VectorGame as VectorGame
