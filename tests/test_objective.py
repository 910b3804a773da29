import math

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import Posterior
from tests.networks import posterior


@pytest.mark.parametrize("prior_std", [0.1, 1.0, 3.0])
def test_kl_agrees_with_torch_distributions(prior_std):
    q = posterior([6, 4, 3], models=3)
    expected = sum(
        kl_divergence(Normal(q.mean[n], q.log_std[n].exp()), Normal(0.0, prior_std)).flatten(1).sum(1) for n in q.mean
    )
    torch.testing.assert_close(kl(q, prior_std), expected)


def test_kl_of_the_prior_to_itself_is_zero():
    q = posterior([6, 4, 3], models=2)
    prior = Posterior(
        {n: torch.zeros_like(t) for n, t in q.mean.items()},
        {n: torch.full_like(t, math.log(0.1)) for n, t in q.mean.items()},
    )
    torch.testing.assert_close(kl(prior, 0.1), torch.zeros(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("prior_std", [0.0, -1.0, math.nan])
def test_kl_refuses_a_prior_without_spread(prior_std):
    with pytest.raises(ValueError, match="must be positive"):
        kl(posterior([2, 2], models=1), prior_std)


def test_log_likelihood_agrees_with_torch_distributions():
    logits, labels = torch.randn(2, 7, 3), torch.randint(3, (2, 7))
    torch.testing.assert_close(log_likelihood(logits, labels), Categorical(logits=logits).log_prob(labels).sum(1))


def test_evidence_falls_by_lambda_for_each_nat_of_complexity():
    """The sign of eq. (4): the likelihood counts for, the KL against."""
    lam = torch.tensor([0.1, 1.0, 100.0])
    complexity = torch.tensor([7.0, 7.0, 7.0], requires_grad=True)
    (slope,) = torch.autograd.grad(evidence(torch.tensor([-5.0] * 3), complexity, lam).sum(), complexity)
    torch.testing.assert_close(slope, -lam)
    torch.testing.assert_close(evidence(torch.tensor(-5.0), torch.tensor(7.0), torch.tensor(1.0)), torch.tensor(-12.0))
