import pytest
import torch

from complexity_control.posterior import Posterior, drawn, layer_noise, logits, sampled_logits, shapes
from tests.networks import generators, posterior


def test_the_papers_network_has_79510_parameters():
    assert sum(torch.Size(s).numel() for s in shapes([784, 100, 10]).values()) == 79_510


def test_a_posterior_without_spread_gives_the_mean_networks_logits():
    q = posterior([5, 4, 3], models=2)
    sharp = Posterior(q.mean, {name: torch.full_like(t, -30) for name, t in q.log_std.items()})
    x = torch.randn(2, 7, 5)
    torch.testing.assert_close(sampled_logits(sharp, x, layer_noise(generators(2), [4, 3], 7)), logits(q.mean, x))


def test_the_mean_network_is_torchs_own_network():
    q = posterior([5, 4, 3], models=2)
    first, second = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)
    x = torch.randn(2, 7, 5)
    for model in range(2):
        for layer, k in ((first, 1), (second, 2)):
            layer.weight.data, layer.bias.data = q.mean[f"W{k}"][model].T, q.mean[f"b{k}"][model]
        expected = torch.nn.Sequential(first, torch.nn.ReLU(), second)(x[model])
        torch.testing.assert_close(logits(q.mean, x)[model], expected)


@pytest.mark.parametrize("model", [0, 1])
def test_local_reparameterisation_has_the_moments_of_sampled_weights(model):
    """The preactivations of one layer, against a layer whose weights are drawn by torch.distributions."""
    torch.manual_seed(0)
    q = posterior([6, 3], models=2)
    x = torch.randn(6)
    draws = 40_000
    local = sampled_logits(q, x.expand(2, draws, 6), layer_noise(generators(2), [3], draws))[model]
    weights = torch.distributions.Normal(q.mean["W1"][model], q.log_std["W1"][model].exp()).sample((draws,))
    biases = torch.distributions.Normal(q.mean["b1"][model], q.log_std["b1"][model].exp()).sample((draws,))
    sampled = x @ weights + biases
    error = sampled.std(0) / draws**0.5
    assert ((local.mean(0) - sampled.mean(0)).abs() < 6 * error).all()
    torch.testing.assert_close(local.std(0), sampled.std(0), rtol=0.03, atol=0)
    assert local.T.corrcoef().fill_diagonal_(0).abs().max() < 0.03  # and the outputs are independent


def test_each_model_of_a_stack_draws_from_its_own_generator():
    q = posterior([5, 4, 3], models=3)
    x = torch.randn(3, 7, 5)
    together = sampled_logits(q, x, layer_noise(generators(3), [4, 3], 7))
    for model in range(3):
        alone = Posterior(*({n: t[model : model + 1] for n, t in part.items()} for part in q))
        own = sampled_logits(alone, x[model : model + 1], layer_noise([generators(3)[model]], [4, 3], 7))
        torch.testing.assert_close(own[0], together[model])


def test_posteriors_that_share_their_digits_give_what_each_gives_alone():
    q = posterior([5, 4, 3], models=6)
    x = torch.randn(2, 7, 5)
    noise = layer_noise(generators(6), [4, 3], 7)
    torch.testing.assert_close(sampled_logits(q, x, noise), sampled_logits(q, x.repeat_interleave(3, 0), noise))


def test_one_draw_of_the_weights_has_their_moments_and_serves_all_digits():
    q = posterior([6, 4, 3], models=2)
    draws, x = 20_000, torch.randn(2, 7, 6)
    many = Posterior(*({name: t.repeat_interleave(draws, 0) for name, t in part.items()} for part in q))
    weights = drawn(many, [torch.randn(t.shape) for t in many.mean.values()])
    for name, mean in q.mean.items():
        normal = torch.distributions.Normal(mean, q.log_std[name].exp())
        own = weights[name].unflatten(0, (2, draws))
        assert ((own.mean(1) - mean).abs() < 6 * normal.stddev / draws**0.5).all()
        torch.testing.assert_close(own.std(1), normal.stddev, rtol=0.05, atol=0)
    for k, by_hand in enumerate(logits({name: t[:3] for name, t in weights.items()}, x[:1])):
        hidden = (x[0] @ weights["W1"][k] + weights["b1"][k]).relu()
        torch.testing.assert_close(by_hand, hidden @ weights["W2"][k] + weights["b2"][k])
