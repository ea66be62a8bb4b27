"""Markets that play a table of one's own keep every promise of a market."""

import pytest

from ioa_marl.envs.testing import check_market
from ioa_marl.registry import load_env

TABLES = {
    "bids and asks": (
        "double_dutch",
        {"data": "market,side,value\na,buyer,10\na,buyer,8\na,seller,1\nb,buyer,9\nb,seller,3\nb,seller,4\n"},
    ),
    "valuations": (
        "second_bid",
        {"data": "market,station,value,uav\n1,a,8,10\n1,b,5,\n2,a,6,4\n2,b,3,\n3,a,2,7\n3,b,9,\n", "tasks": 3},
    ),
    "providers with bandwidths": (
        "second_bid",
        {"data": "provider,uplink_bandwidth,accuracy\nuav,40,0.6\nstation,20,0.7\nstation,60,0.8\n", "tasks": 3},
    ),
    "slices": (
        "vcg_slicing",
        {"data": "worth,bandwidth,computing,cache\n150,3,0,8\n90,6,2,0.5\n240,1,9,4\n", "rounds": 3},
    ),
    "agents": (
        "stackelberg",
        {
            "data": "agent,mobile_of,fixed_of,workload,mobile_cost,fixed_cost\nwireless,0,0,9,,\nwireless,1,0,11,,\n"
            "mobile,,,,0.5,\nmobile,,,,0.7,\nfixed,,,,,1.9\n",
            "rounds": 3,
        },
    ),
    "agents of both tiers": (
        "two_tier",
        {
            "data": "agent,mobile_of,fixed_of,workload,capacity,aerial_cost\nwireless,0,0,9,,\nwireless,0,1,11,,\n"
            "mobile,,,,,\nfixed,,,,0.5,\nfixed,,,,20,\naerial,,,,,0.3\naerial,,,,,0.6\n",
            "rounds": 2, "price_levels": 11, "num_envs": 2, "episodes": 1,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_a_market_of_ones_own_table_keeps_every_promise(table):
    name, settings = TABLES[table]
    check_market(load_env(name), processes=False, **settings)
