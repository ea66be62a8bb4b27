LEADERS = ("mobile", "fixed")
EVERYBODY = (*LEADERS, "wireless")
CHOICES = (LEADERS, ("mobile",), ("fixed",), ("wireless",), ("fixed", "wireless"), EVERYBODY)
METRO = {"preset": "metro", "wireless": 60, "mobile": 4, "fixed": 5}

QUICK = {"preset": "city", "rounds": 3}
PROMISES = [
    *((roles, {"preset": "paper", "rounds": 3}) for roles in CHOICES),
    *((EVERYBODY, {"preset": preset, "num_envs": 2, "rounds": 2}) for preset in ("dynamic", "kinked", "scarce")),
    (EVERYBODY, {"num_envs": 2, "rounds": 2, **METRO}),
    *(
        (roles, {"preset": "city", "num_envs": 2, "rounds": 2, "deviation_step": 0.25, **settings})
        for roles, settings in (
            (None, {"action": "box"}),
            (EVERYBODY, {"action": "box", "observation": "extended", "max_cycles": 3}),
            (None, {"observation": "extended", "redraw": "episode", "instance": 4}),
            (EVERYBODY, {"mobility": "as_printed", "mobility_weight": 0.5, "congestion": True}),
            (None, {"dynamics": True, "latency_case": "ma", "redraw": "episode", "observation": "extended"}),
            (("wireless",), {"wireless": 3, "mobile": 5, "fixed": 4}),
            (None, {"observation": "customers", "wireless": 5, "mobile": 2, "fixed": 7}),
            (
                EVERYBODY,
                {
                    "preset": "dynamic",
                    "mobile_radius": 20.0,
                    "fixed_radius": 60.0,
                    "fading": "independent",
                    "mobility_metrics": True,
                },
            ),
            (None, {"preset": "dynamic", "observation": "extended", "fixed_radius": 60.0, "redraw": "episode"}),
        )
    ),
]
ALONE = [{"role": role, "action": action} for role in EVERYBODY for action in ("discrete", "box")]
PICTURES = [
    ({"preset": preset}, steps)
    for preset, steps in (
        ("paper", 0), ("paper", None), ("city", 2), ("scarce", 1), ("dynamic", 4), ("dynamic", None), ("metro", 1),
    )
]  # fmt: skip
COPIES = [
    {"max_cycles": 4},
    {"controlled_roles": list(EVERYBODY), "preset": "dynamic", "rounds": 3},
    {"controlled_roles": ["mobile"], "action": "box", "preset": "scarce", "max_cycles": 4},
]
ONE_SPACE = [LEADERS, ("wireless",)]
