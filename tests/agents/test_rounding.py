"""Products do not depend on the alignment of their matrices without strict mode; a mode set by the user is kept."""

import os
import random
import subprocess
import sys

import pytest
import torch

from ioa_marl.agents.networks import rounding

ROWS = [1, 2, 3, 5, 8, 10, 16, 64, 100, 128]
WIDTHS = [1, 2, 3, 7, 11, 16, 27, 64, 100, 128, 200]


def laid(matrices, offset):
    """Return a copy that begins ``offset`` numbers after a multiple of the registers' width."""
    room = torch.empty(matrices.numel() + 64)
    return room[offset : offset + matrices.numel()].view(matrices.shape).copy_(matrices)


@pytest.mark.skipif(
    not rounding._ignores_alignment(), reason="this processor uses MKL's strict mode, which guarantees it"
)
@pytest.mark.parametrize("turn", ["forward", "of weights", "of inputs"])
def test_product_does_not_depend_on_where_matrices_lie_or_on_what_lies_beside_them(turn):
    draws = random.Random(0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        rows, inner, columns = draws.choice(ROWS), draws.choice(WIDTHS), draws.choice(WIDTHS)
        one, other = {
            "forward": ((rows, inner), (inner, columns)),
            "of weights": ((inner, rows), (rows, columns)),
            "of inputs": ((rows, columns), (columns, inner)),
        }[turn]
        x = torch.randn(7, *one, generator=generator)
        y = torch.randn(7, *other, generator=generator)
        transposed = {"forward": (False, False), "of weights": (True, False), "of inputs": (False, True)}[turn]

        def product(mask, offsets, x=x, y=y, transposed=transposed):
            # As layers have them: the transposed one lies the other way round in memory.
            sides = [
                laid(side[mask].mT.contiguous(), offset).mT if other_way else laid(side[mask], offset)
                for side, offset, other_way in zip((x, y), offsets, transposed, strict=False)
            ]
            out = laid(torch.empty(len(sides[0]), x.shape[1], y.shape[2]), offsets[2])
            return torch.bmm(*sides, out=out)

        whole = product(slice(0, 7), (0, 0, 0))
        first = draws.randrange(6)
        part = product(slice(first, first + 2), tuple(draws.randrange(16) for _ in range(3)))
        assert torch.equal(part, whole[first : first + 2]), (rows, inner, columns)


@pytest.mark.parametrize("mode", ["COMPATIBLE", None])
def test_a_mode_that_the_user_has_set_stays(mode):
    code = "import ioa_marl.agents.networks.stacked, os; print(os.environ['MKL_CBWR'])"
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
    if mode:
        environment["MKL_CBWR"] = mode
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == (mode or ("AUTO" if rounding._ignores_alignment() else "AUTO,STRICT"))


@pytest.mark.parametrize(
    ("processor", "capability", "expected"),
    [
        ("vendor_id : GenuineIntel", "AVX512", True),
        ("vendor_id : GenuineIntel", "DEFAULT", False),
        ("vendor_id : AuthenticAMD", "AVX512", False),
        (None, "AVX512", False),
    ],
)
def test_only_processors_that_were_tried_are_not_strict(processor, capability, expected, monkeypatch):
    def read_text(path, encoding):
        if processor is None:
            raise FileNotFoundError(path)
        return processor

    monkeypatch.setattr(rounding.Path, "read_text", read_text)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert rounding._ignores_alignment() is expected
