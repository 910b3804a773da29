import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from complexity_control import direct, linear, low_rank, tempered
from complexity_control.methods.tempered import SPEED, lagrange
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import layer_noise, product, sampled_logits, to_flat
from complexity_control.training import Settings, sampled_lambdas
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


COUNTS = [(direct(), 159_020), (low_rank(), 272_428), (linear(), 318_040), (tempered(), 488_100),
          (tempered(degree=0, mean_degree=0), 159_020)]  # fmt: skip


@pytest.mark.parametrize(("method", "count"), COUNTS)
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


def test_the_slope_of_a_linear_hypernetwork_starts_at_another_start_and_at_ones():
    zero, both = (linear(init_slope=s, init_ones=o).init(generators(2), SMALL, -3.0) for s, o in ((0, 0), (0.5, 2)))
    for name, slope in both.items():
        if name.endswith(".b2"):  # each name is that of a tensor, and .b2 or .b3 of eq. (6)
            other = (slope - 2) / 0.5
            assert not zero[name].any()
            if "log_std" in name:
                torch.testing.assert_close(other, torch.full_like(other, -3.0))
            else:
                assert other.std() > 0
        else:
            assert torch.equal(slope, zero[name])


PRIOR_STD = 0.1


def tempered_posterior(lam, scale=1.0, seed=0):
    """A posterior of generated m and prices, alone: no polynomials."""
    draw = torch.Generator().manual_seed(seed)
    start = tempered(PRIOR_STD, degree=0, mean_degree=0).init(generators(1), SMALL, -3.0)
    params = {n: t.double() + scale * torch.randn(t.shape, generator=draw) for n, t in start.items()}
    at = torch.tensor([lam], dtype=torch.float64)
    return params, tempered(PRIOR_STD, degree=0, mean_degree=0).posterior(params, at)


@given(lam=st.floats(1e-6, 1e6), scale=st.floats(0.01, 3), seed=st.integers(0, 100))
def test_a_tempered_posterior_is_finite_and_no_wider_than_the_prior(lam, scale, seed):
    _, q = tempered_posterior([lam], scale, seed)
    for name, log_std in q.log_std.items():
        variance = (2 * log_std).exp()
        assert q.mean[name].isfinite().all()
        assert ((variance > 0) & (variance <= PRIOR_STD**2 * (1 + 1e-12))).all()


@given(lam=st.floats(1e-6, 1e6), factor=st.floats(1.01, 100), seed=st.integers(0, 100))
def test_the_kl_of_a_tempered_posterior_falls_as_lambda_grows(lam, factor, seed):
    _, q = tempered_posterior([lam, lam * factor], 1.0, seed)
    lower, higher = kl(q, PRIOR_STD).tolist()
    assert higher < lower or lower < 1e-9  # both are the prior


def test_a_tempered_weight_is_half_given_up_at_its_price_and_the_prior_beyond():
    params, q = tempered_posterior([1e-9, 1e12])
    for name, mean in q.mean.items():
        torch.testing.assert_close(mean[0], params[f"{name}.m"][0, 0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(q.log_std[name][1].exp(), torch.full_like(mean[1], PRIOR_STD), rtol=1e-4, atol=0)
        assert mean[1].abs().max() < 1e-3
        price = (SPEED * params[f"{name}.a"]).exp().flatten()[:1]  # of the first weight
        at = tempered(PRIOR_STD, degree=0, mean_degree=0).posterior(params, price.view(1, 1))
        torch.testing.assert_close(at.mean[name].flatten()[:1], params[f"{name}.m"].flatten()[:1] / 2)
        torch.testing.assert_close((2 * at.log_std[name]).exp().flatten()[0].item(), PRIOR_STD**2 / 2)


def test_a_tempered_hypernetwork_starts_at_the_given_deviation_at_the_middle_lambda():
    q = tempered(PRIOR_STD).posterior(tempered(PRIOR_STD).init(generators(1), SMALL, -3.0), torch.tensor([[10**0.5]]))
    for log_std in q.log_std.values():
        torch.testing.assert_close(log_std, torch.full_like(log_std, -3.0))


@given(degree=st.integers(0, 12), t=st.floats(-1, 1), seed=st.integers(0, 100))
def test_a_polynomial_follows_from_its_values_at_the_chebyshev_nodes(degree, t, seed):
    """numpy's Chebyshev series, put in at the nodes, comes out everywhere, also a constant: so all begin alike."""
    series = np.polynomial.Chebyshev(np.random.default_rng(seed).standard_normal(degree + 1))
    nodes = np.polynomial.chebyshev.chebpts2(degree + 1) if degree else np.zeros(1)
    weights = lagrange(torch.tensor(t, dtype=torch.float64), degree).numpy()
    np.testing.assert_allclose(weights @ series(nodes), series(t), atol=1e-12 * (1 + abs(series.coef).sum()))
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-12)


def test_a_value_at_a_node_moves_the_posterior_most_at_the_lambdas_near_it():
    method = tempered(PRIOR_STD, degree=4, mean_degree=3, lam_range=(0.1, 100.0))
    lam = torch.logspace(-1, 2, 31).unsqueeze(0)
    start = method.init(generators(1), SMALL, -3.0)
    for node, nearest in enumerate((0, 7.5, 22.5, 30)):  # of a cubic, at t = -1, -1/2, 1/2, 1
        changed = {n: t.clone() for n, t in start.items()}
        changed["W1.m"][:, node] *= 1.01
        moved_by = (method.posterior(changed, lam).mean["W1"] / method.posterior(start, lam).mean["W1"] - 1)[:, 0, 0]
        assert abs(int(moved_by.argmax()) - nearest) <= 2


def test_two_numbers_a_weight_are_the_optimum_for_every_lambda_of_a_quadratic_likelihood():
    """log p(D | w) = -h (w - m)² / 2: the evidence's gradient by mean and deviation is zero at every lambda."""
    curvature, maximum = torch.tensor([0.3, 40.0, 900.0]).double(), torch.tensor([0.7, -0.2, 1.5]).double()
    price = curvature * PRIOR_STD**2
    for lam in (10 ** torch.linspace(-1, 2, 13).double()).tolist():
        s = torch.sigmoid(price.log() - math.log(lam))
        mean, std = (maximum * s).requires_grad_(), (PRIOR_STD * (1 - s).sqrt()).requires_grad_()
        fit = -(curvature * ((mean - maximum) ** 2 + std**2)).sum() / 2
        divergence = kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), PRIOR_STD)).sum()
        by_mean, by_std = torch.autograd.grad(fit - lam * divergence, (mean, std))
        assert (by_mean.abs() < 1e-9 * (curvature * maximum).abs()).all()
        assert (by_std.abs() < 1e-9 * curvature * std + 1e-9 * lam / std).all()


@pytest.mark.parametrize("make", [lambda: low_rank("scaled"), lambda: low_rank("log"), lambda: low_rank("raw"),
                                  lambda: linear("scaled"), lambda: linear("log"), lambda: linear("raw"), tempered,
                                  lambda: tempered(degree=2, mean_degree=0)])  # fmt: skip
def test_a_stack_of_hypernetworks_generates_like_each_alone(make):
    method = make()
    params = moved(method, SMALL, models=2)
    lam = torch.tensor([[0.1, 1.0, 100.0], [10.0, 2.0, 0.5]])
    together = to_flat(method.posterior(params, lam))
    for model in range(2):
        alone = to_flat(method.posterior({n: t[model : model + 1] for n, t in params.items()}, lam[model : model + 1]))
        for name in alone:
            torch.testing.assert_close(alone[name], together[name][3 * model : 3 * model + 3])


@pytest.mark.parametrize("method", [low_rank("log"), linear("raw")])
def test_the_short_way_through_the_first_layers_means_leads_where_the_dense_one_does(method):
    params = {n: t.double() for n, t in moved(method, SMALL, models=2).items()}
    lam = torch.tensor([[0.5, 50.0, 3.0], [1.0, 2.0, 7.0]], dtype=torch.float64)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    dense = product(x, method.posterior(params, lam).mean["W1"])
    torch.testing.assert_close(method.mean_pass(params, lam, x), dense)


@pytest.mark.parametrize("make", [low_rank, linear, tempered])
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
            logits = sampled_logits(q, x, noise, method.mean_pass and method.mean_pass(changed, lam, x))
        finally:
            torch.set_default_dtype(torch.float32)
        return evidence(log_likelihood(logits, labels), kl(q, 0.1), lam.flatten()).sum()

    assert torch.autograd.gradcheck(value, tuple(params.values()), fast_mode=True)


@pytest.mark.parametrize(("low", "high"), [(0.1, 100), (0.01, 3)])
def test_a_hypernetworks_lambdas_are_log_uniform(low, high):
    settings = Settings(samples=1_000, lam_range=(low, high))
    lam = sampled_lambdas(generators(4), settings).flatten().log10()
    ends = math.log10(low), math.log10(high)
    assert lam.min() >= ends[0]
    assert lam.max() <= ends[1]
    thirds = torch.histc(lam, bins=3, min=ends[0], max=ends[1]) / len(lam)
    assert thirds.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_stratified_lambdas_come_one_from_each_part_of_the_range():
    settings = Settings(samples=4, stratified=True)
    parts = ((sampled_lambdas(generators(50), settings).log10() + 1) / 3 * 4).floor()
    assert torch.equal(parts, torch.arange(4.0).expand(50, 4))
