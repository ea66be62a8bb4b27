"""Our softmax over few outcomes is PyTorch's, with its gradient, whatever lies beside a row."""

import pytest
import torch

from ioa_marl.agents.networks.softmax import VECTOR, log_softmax, softmax

PAIRS = {"softmax": (softmax, torch.softmax), "log_softmax": (log_softmax, torch.log_softmax)}
few = pytest.mark.parametrize("outcomes", [1, 2, 7, 11, VECTOR - 1, VECTOR, 51])
each = pytest.mark.parametrize("name", PAIRS)


def logits(outcomes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(outcomes)
    drawn = 30.0 * torch.randn(3, 5, 2, outcomes, generator=generator, dtype=dtype)
    if outcomes > 2:
        drawn[:, :, 1, -1] = -torch.inf  # an outcome that the second head does not have
    return drawn


@few
@each
def test_values_and_gradients_are_pytorchs(name, outcomes):
    ours, theirs = (logits(outcomes).requires_grad_() for _ in range(2))
    mine, reference = PAIRS[name]
    found, wanted = mine(ours), reference(theirs, -1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=wanted.dtype)
    for values in (found, wanted):
        torch.where(torch.isfinite(values), values * weights, 0.0).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


@few
@each
def test_a_row_is_the_same_to_the_bit_among_any_number_of_others(name, outcomes):
    whole = torch.cat([logits(outcomes, torch.float32)] * 7)
    mine = PAIRS[name][0]
    for first, last in ((0, 1), (2, 4), (5, 21), (20, 21)):
        for rows in (1, 3, 5):
            assert torch.equal(mine(whole[first:last, :rows]), mine(whole)[first:last, :rows])


@each
def test_large_logits_do_not_overflow_and_what_is_not_a_number_stays_in_its_row(name):
    drawn = torch.tensor([[3e38, -3e38, 0.0], [torch.nan, 0.0, 1.0], [1.0, 2.0, 3.0]])
    found = PAIRS[name][0](drawn)
    assert torch.isfinite(found[0, 0])
    assert found[1].isnan().all()
    assert torch.isfinite(found[2]).all()
