from ioa_marl.envs.double_dutch import DoubleDutchGame

EVERYBODY = ("auctioneer", "buyer", "seller")
CHOICES = (("auctioneer",), ("buyer",), ("seller",), ("buyer", "seller"), EVERYBODY)
LARGE = ("thick", "exchange")
ALL_BUT_LARGE = [preset for preset in DoubleDutchGame.presets if preset not in LARGE]

PROMISES = [
    # A fresh process takes a second: once for the short path, in which only the auctioneer learns.
    *((r, {"preset": p, "processes": p == "mixed" and r == CHOICES[0]}) for p in ALL_BUT_LARGE[1:] for r in CHOICES),
    *((roles, {"preset": p, "num_envs": 2, "episodes": 1}) for p in LARGE for roles in (("auctioneer",), EVERYBODY)),
    (None, {"observation": "extended"}),
    (EVERYBODY, {"observation": "extended"}),
    *((roles, {"preset": "thin", "ending": "next_loser"}) for roles in CHOICES),
    (None, {"max_cycles": 4}),
    (EVERYBODY, {"max_cycles": 1}),
    (EVERYBODY, {"observation": "extended", "max_cycles": 7, "welfare_paid": "at_end"}),
]
ALONE = [{}, {"preset": "mixed", "observation": "extended", "max_cycles": 50}]
PICTURES = [({"preset": preset}, steps) for preset in DoubleDutchGame.presets for steps in (0, 30, None)]
STATES = [("auctioneer",), EVERYBODY]
COPIES = [
    {"max_cycles": 6},
    {"controlled_roles": list(EVERYBODY), "preset": "mixed", "max_cycles": 6},
    {"controlled_roles": ["buyer"], "max_cycles": 6},
]
ONE_SPACE = [("auctioneer",), ("buyer", "seller")]
