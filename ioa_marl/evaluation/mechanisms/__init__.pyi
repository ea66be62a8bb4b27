from .auctioneers import (
    Auctioneer as Auctioneer,
)
from .comparison import (
    Comparison as Comparison,
)
from .comparison import (
    MechanismFigures as MechanismFigures,
)
from .double_auctions import (
    DoubleAuctionBids as DoubleAuctionBids,
)
from .double_auctions import (
    compare_double_auctions as compare_double_auctions,
)
from .picture import (
    picture as picture,
)
from .shares import (
    SlicingTypes as SlicingTypes,
)
from .shares import (
    compare_shares as compare_shares,
)
from .single_item import (
    ItemValues as ItemValues,
)
from .single_item import (
    compare_single_item as compare_single_item,
)
from .table import (
    csv_text as csv_text,
)
from .table import (
    lines as lines,
)
