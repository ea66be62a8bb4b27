BOTH = ("slice", "vsp")
CHANGING = {"redraw": "episode", "observation": "extended", "fewest_providers": 3}

QUICK = {"rounds": 12}
PROMISES = [
    *((None, {"preset": preset, "num_envs": 2, "rounds": 6}) for preset in ("n20", "n50")),
    (None, {"preset": "city", "num_envs": 2, "episodes": 1, "rounds": 2}),
    *(
        (roles, {"rounds": 6, **settings})
        for roles, settings in (
            (None, {"observation": "extended"}),
            (BOTH, {"observation": "extended", "redraw": "episode"}),
            (None, {"observation": "extended", "redraw": "episode", "slice_reward": "increment"}),
            (("vsp",), {"instance": 5, "max_cycles": 3}),
            (BOTH, {"max_cycles": 1, "slice_reward": "bids"}),
            (BOTH, {"max_cycles": 5, "slice_reward": "own"}),
            (BOTH, {"providers": 2, "slice_reward": "utility"}),
            (BOTH, {"providers": 2, "rate": (0.0, 1e-4)}),
            (BOTH, {"providers": 4, "coalitions": ((0, 3),), "mechanism": "dual_currency"}),
            (None, {"providers": 4, "coalitions": ((0, 1), (2, 3)), "observation": "extended", **CHANGING}),
        )
    ),
]
PICTURES = [({"preset": preset}, steps) for preset, steps in (("paper", 0), ("paper", None), ("n50", 7), ("city", 3))]
COPIES = [
    {"rounds": 6, "providers": 4},
    {"controlled_roles": list(BOTH), "rounds": 3, "providers": 6, **CHANGING},
    {"controlled_roles": ["vsp"], "rounds": 6},
    {"controlled_roles": list(BOTH), "preset": "dual_currency", "rounds": 6, "voi": "network"},
    {"controlled_roles": ["vsp"], "preset": "dual_currency", "rounds": 6, "externality": "exact"},
    {"preset": "no_interest", "rounds": 6},
]
