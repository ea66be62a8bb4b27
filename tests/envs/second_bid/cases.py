from ioa_marl.envs.second_bid import SecondBidGame

EVERYBODY = ("auctioneer", "station")
CHOICES = (("auctioneer",), ("station",), EVERYBODY)

QUICK = {"tasks": 6}
PROMISES = [
    *((roles, {"preset": p, "tasks": 6}) for p in [*SecondBidGame.presets][1:] for roles in CHOICES),
    (None, {"tasks": 50}),
    (None, {"information": "history", "tasks": 6}),
    (EVERYBODY, {"uav_bid_visible": True, "tasks": 6}),
    (EVERYBODY, {"rivals": "providers", "tasks": 6}),
    (None, {"max_cycles": 4, "tasks": 6}),
    (EVERYBODY, {"max_cycles": 1, "tasks": 6}),
    (EVERYBODY, {"max_cycles": 3, "tasks": 6}),
    (("station",), {"max_cycles": 2, "tasks": 6}),
    (None, {"tasks": 1, "levels": 1, "stations": 2, "periods": 1}),
    (EVERYBODY, {"stations": 40, "tasks": 2}),
    (
        EVERYBODY,
        {"redraw": "episode", "window": "sliding", "delay_of": "task", "uav_cpu_speed": (0.5, 0.9), "tasks": 4},
    ),
]
ALONE = [{}, {"preset": "persistent"}, {"uav_bid_visible": True, "max_cycles": 20}]
PICTURES = [({"preset": preset}, steps) for preset in SecondBidGame.presets for steps in (0, 1, None)] + [
    (settings, None)
    for settings in (
        {"stations": 2},
        {"stations": 40},
        {"tasks": 200},
        {"latency_factor": 1e6},
        {"rivals": "providers"},
    )
]
COPIES = [
    {"controlled_roles": list(EVERYBODY), "preset": "persistent", "tasks": 6},
    {"preset": "pareto", "tasks": 6},
    {"preset": "resident", "tasks": 6},
]
