"""Damage of any kind to the nested values of a checkpoint, drawn by a seeded generator; shared by tests."""

import copy

import numpy as np
import torch

JUNK = (
    None, True, -1, 0, 1, 3, 10**9, 10**30, 0.5, -0.0, float("nan"), float("inf"), 1e300, "", "x", "null",
    "random", "sac",
    "\x1b[31m\n\u202ered", "../../etc", "x" * 5000, b"bytes", (), [], {}, [1, 2], ["a"], {"name": "sac"}, {0: 1},
    {"name": {}}, [[[]]], np.float64(2.0), np.zeros(3), np.array(7), torch.zeros(2, 2), torch.tensor(1.0),
    torch.ones(1, dtype=torch.bfloat16), [8] * 5000,
)  # fmt: skip


def places(tree, path=()):
    """Yield the path of everything inside."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def reached(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def of_tensor(value, chosen):
    """Return a tensor that is like another one, and still another one."""
    return chosen.choice(
        [
            lambda t: t.double(), lambda t: t.half(), lambda t: t.bfloat16(), lambda t: t.long(), lambda t: t[None],
            lambda t: t.numpy(), lambda t: t.tolist(), lambda t: t.flatten(), lambda t: t[..., :1], lambda t: t[:0],
            lambda t: t.mean(dim=-1, keepdim=True), lambda t: torch.cat([t, t]), lambda t: torch.cat([t, t], dim=-1),
            lambda t: torch.nn.Parameter(t), lambda t: t.complex(t) if t.is_complex() else torch.complex(t, t),
            lambda t: t.reshape(-1)[0], lambda t: t.swapaxes(0, -1)[..., None],
        ]
    )(value.float())  # fmt: skip


def mutated(tree, chosen, within=()):
    """Return a copy of nested values with one thing changed, and what was changed.

    Parameters
    ----------
    tree : dict
        Nested values.
    chosen : random.Random
        Generator.
    within : sequence, default empty
        Path of the part that is changed.
    """
    tree = copy.deepcopy(tree)
    path = chosen.choice([place for place in places(tree) if place[: len(within)] == tuple(within)])
    holder, key = reached(tree, path[:-1]), path[-1]
    value = holder[key]
    kinds = ["junk", "junk", "remove", "add"] + (["tensor"] * 3 if isinstance(value, torch.Tensor) else [])
    kind = chosen.choice(kinds)
    if kind == "junk":
        holder[key] = copy.deepcopy(chosen.choice(JUNK))
    elif kind == "remove":
        del holder[key]
    elif kind == "tensor":
        holder[key] = of_tensor(value, chosen)
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
    else:
        holder[chosen.choice(["another", 0, "", f"{key} "])] = copy.deepcopy(value)
    return tree, f"{kind} at {'/'.join(map(str, path))}: {str(reached_or_none(tree, path))[:200]}"


def reached_or_none(tree, path):
    try:
        return reached(tree, path)
    except (KeyError, IndexError):
        return None
