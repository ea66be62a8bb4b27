"""Values and gradients of stacked layers are those of plain PyTorch, also for a single member with its padding copy."""

import itertools

import pytest
import torch

from ioa_marl.agents.networks.layers import affine, perceptron
from ioa_marl.agents.networks.optimiser import StackedAdam

ACTIVATIONS = {torch.relu_: torch.relu, torch.tanh: torch.tanh}


def drawn(members, sizes, seed=0):
    """Return layers as in a stack, with a padding copy of a single member."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for shape in itertools.pairwise(sizes):
        for size in (shape, (1, shape[1])):
            values = torch.randn(members, *size, generator=generator, dtype=torch.float64)
            layers.append(torch.cat([values, values]).requires_grad_() if members == 1 else values.requires_grad_())
    return list(zip(layers[::2], layers[1::2], strict=True))


def plain(x, layers, activation, to_last):
    """Evaluate the layers with PyTorch's own operations."""
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight[: len(x)] + bias[: len(x)]
        if to_last or i < len(layers) - 1:
            x = activation(x)
    return x


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=["relu", "tanh"])
@pytest.mark.parametrize("to_last", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("members", [1, 2, 5])
def test_network_and_its_gradients_are_plain_pytorchs(members, rows, to_last, activation):
    for sizes in ((3, 4), (3, 1), (3, 5, 1), (1, 5, 4, 2)):
        layers = drawn(members, sizes)
        x = torch.randn(members, rows, sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        variables = [x, *itertools.chain.from_iterable(layers)]
        ours = perceptron(x, layers, activation, to_last=to_last)
        theirs = plain(x, layers, ACTIVATIONS[activation], to_last)
        torch.testing.assert_close(ours, theirs)
        weights = torch.randn(theirs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        found, wanted = (torch.autograd.grad((out * weights).sum(), variables) for out in (ours, theirs))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one[:members], other[:members])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("members", [1, 2, 5])
def test_a_bias_with_a_row_for_every_input_gets_its_own_gradient(members, rows, relu):
    ((weight, _),) = drawn(members, (3, 4))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(members, rows, 3, dtype=torch.float64, generator=generator)
    bias = torch.randn(members, rows, 4, dtype=torch.float64, generator=generator).requires_grad_()
    ours = affine(x, weight, bias, relu=relu)
    theirs = x @ weight[:members] + bias
    theirs = torch.relu(theirs) if relu else theirs
    torch.testing.assert_close(ours, theirs)
    found, wanted = (torch.autograd.grad(out.square().sum(), bias)[0] for out in (ours, theirs))
    torch.testing.assert_close(found, wanted)


def test_a_batch_without_rows_is_an_empty_one():
    assert affine(torch.zeros(3, 0, 2), torch.zeros(3, 2, 4), torch.zeros(3, 1, 4)).shape == (3, 0, 4)


def test_a_graph_of_parameters_that_have_moved_since_is_refused():
    ((weight, bias),) = drawn(2, (3, 4))
    weight, bias = torch.nn.Parameter(weight.detach()), torch.nn.Parameter(bias.detach())
    optimiser = StackedAdam([weight, bias], 0.1)
    x = torch.ones(2, 5, 3, dtype=torch.float64, requires_grad=True)
    stale = affine(x, weight, bias).sum()
    for p in (weight, bias):
        p.grad = torch.ones_like(p)
    optimiser.gradient_step(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stale.backward()
