from ioa_marl.envs.two_tier import TwoTierGame

SMALL = {"wireless": 6, "mobile": 3, "fixed": 3, "aerial": 4, "capacity": (0.5, 12.0), "rounds": 4}
MOVING = {"dynamics": True, "mobility_weight": 0.4, "mobility_offset": 0.9, "observation": "customers"}

QUICK = SMALL
PROMISES = [
    *((None, {"preset": preset, "num_envs": 2, "episodes": 1, "rounds": 3}) for preset in ("paper", "city")),
    (None, {"preset": "metro", "num_envs": 2, "episodes": 1, "rounds": 2, "fixed": 40, "price_levels": 6}),
    *(
        (roles, {**SMALL, **settings})
        for roles, settings in (
            (None, {"observation": "extended"}),
            (("auctioneer",), {"observation": "extended", "instance": 3}),
            (None, {"max_cycles": 3}),
            (("mobile", "fixed"), {"max_cycles": 1}),
            (None, {"wireless": 1, "mobile": 1, "fixed": 1, "aerial": 1, "steps": (0.5, 1.25)}),
            (None, {"capacity": (1e-9, 1e-9), "psi": 0.0}),
            (None, {"capacity": (1e6, 1e6), "price_levels": 2}),
            (("buyer", "seller"), {"bids": "chosen", "rounds": 2}),
            ((*TwoTierGame.default_controlled_roles, "seller"), {**MOVING, "bids": "chosen", "rounds": 3}),
        )
    ),
]
ALONE = [{"role": "auctioneer", **SMALL}]
PICTURES = [({"preset": preset}, steps) for preset in TwoTierGame.presets for steps in (0, 1, 2, 7)]
COPIES = [{"rounds": 3}, {"controlled_roles": ["auctioneer"], "max_cycles": 4}]
ONE_SPACE = [("mobile",), ("fixed",), ("auctioneer",)]
