import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from complexity_control import direct, linear, low_rank
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import layer_noise, product, sampled_logits, to_flat
from complexity_control.training import Model, sampled_lambdas
from tests.networks import generators

PAPER = [784, 100, 10]
SMALL = [6, 4, 3]
lambdas = st.floats(0.1, 100)


def moved(method, sizes, models=1):
    """Parameters some way from their start, so that no part is zero."""
    params = method.init(generators(models), sizes, -3.0)
    return {
        name: t + 0.1 * torch.randn(t.shape, generator=torch.Generator().manual_seed(5)) for name, t in params.items()
    }


@pytest.mark.parametrize(("method", "count"), [(direct(), 159_020), (low_rank(), 272_428), (linear(), 318_040)])
def test_the_number_of_trained_parameters(method, count):
    assert sum(t[0].numel() for t in method.init(generators(1), PAPER, -3.0).values()) == count


@given(first=lambdas, second=lambdas, seed=st.integers(0, 20))
def test_low_rank_posteriors_of_two_lambdas_differ_from_their_constant_by_rank_one(first, second, seed):
    params = {n: t.double() for n, t in low_rank().init([torch.Generator().manual_seed(seed)], SMALL, -3.0).items()}
    q = to_flat(low_rank().posterior(params, torch.tensor([[first, second]], dtype=torch.float64)))
    for name in ("mean.W1", "log_std.W1", "mean.W2", "log_std.W2"):
        for generated in q[name]:
            ranks = torch.linalg.svdvals(generated - params[f"{name}.B1"][0])
            assert ranks[0] > 1e-6
            assert ranks[1] < 1e-12 * ranks[0] + 1e-14


@given(first=lambdas, second=lambdas, share=st.floats(0, 1))
def test_the_linear_posterior_is_linear_in_lambda(first, second, share):
    params = {n: t.double() for n, t in moved(linear(), SMALL).items()}
    between = share * first + (1 - share) * second
    lam = torch.tensor([[first, second, between]], dtype=torch.float64)
    for t in to_flat(linear().posterior(params, lam)).values():
        torch.testing.assert_close(share * t[0] + (1 - share) * t[1], t[2])


def test_a_linear_hypernetwork_starts_as_a_direct_posterior_whatever_lambda():
    start = direct().init(generators(2), SMALL, -3.0)
    params = linear().init(generators(2), SMALL, -3.0)
    q = to_flat(linear().posterior(params, torch.tensor([[0.1, 100.0], [1.0, 10.0]])))
    for name, t in start.items():
        assert torch.equal(q[name], t.repeat_interleave(2, 0))


@pytest.mark.parametrize("feed", ["scaled", "log", "raw"])
@pytest.mark.parametrize("make", [low_rank, linear])
def test_a_stack_of_hypernetworks_generates_like_each_alone(make, feed):
    method = make(feed)
    params = moved(method, SMALL, models=2)
    lam = torch.tensor([[0.1, 1.0, 100.0], [10.0, 2.0, 0.5]])
    together = to_flat(method.posterior(params, lam))
    for model in range(2):
        alone = to_flat(method.posterior({n: t[model : model + 1] for n, t in params.items()}, lam[model : model + 1]))
        for name in alone:
            torch.testing.assert_close(alone[name], together[name][3 * model : 3 * model + 3])


@pytest.mark.parametrize("method", [direct(), low_rank("log"), linear("raw")])
def test_the_short_way_through_the_first_layers_means_leads_where_the_dense_one_does(method):
    params = {n: t.double() for n, t in moved(method, SMALL, models=2).items()}
    lam = torch.tensor([[0.5, 50.0, 3.0], [1.0, 2.0, 7.0]], dtype=torch.float64)
    if method.posterior(params, lam).mean["W1"].shape[0] == 2:  # a direct posterior is one lambda's
        lam = lam[:, :1]
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    dense = product(x, method.posterior(params, lam).mean["W1"])
    torch.testing.assert_close(method.mean_pass(params, lam, x), dense)


@pytest.mark.parametrize("make", [low_rank, linear])
def test_gradients_of_the_evidence_agree_with_finite_differences(make):
    method = make()
    params = {n: t.double().requires_grad_() for n, t in moved(method, [3, 2, 2]).items()}
    x, labels = torch.randn(1, 5, 3, dtype=torch.float64), torch.randint(2, (2, 5))
    lam = torch.tensor([[0.5, 50.0]], dtype=torch.float64)
    # the network's noise comes as float32: fixed draws, so that the differences see one function
    names = list(params)

    def value(*tensors):
        changed = dict(zip(names, tensors, strict=True))
        q = method.posterior(changed, lam)
        torch.set_default_dtype(torch.float64)
        try:
            noise = layer_noise(generators(2), [2, 2], 5)
            logits = sampled_logits(q, x, noise, method.mean_pass(changed, lam, x))
        finally:
            torch.set_default_dtype(torch.float32)
        return evidence(log_likelihood(logits, labels), kl(q, 0.1), lam.flatten()).sum()

    assert torch.autograd.gradcheck(value, tuple(params.values()), fast_mode=True)


def test_a_hypernetworks_lambdas_are_log_uniform():
    lam = sampled_lambdas([Model(None, seed) for seed in range(4)], generators(4), 1_000).flatten().log10()
    assert lam.min() >= -1
    assert lam.max() <= 2
    thirds = torch.histc(lam, bins=3, min=-1, max=2) / len(lam)
    assert thirds.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
