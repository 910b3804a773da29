import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from complexity_control.digits import scale
from complexity_control.posterior import logits
from complexity_control.pruning import PERCENTS, accuracy, accuracy_curve, log_density, prune, stability
from tests.networks import posterior


def test_pruning_nothing_changes_nothing():
    q = posterior([6, 4, 3], models=2)
    for part, pruned in zip(q, prune(q, 0), strict=True):
        for name in part:
            assert torch.equal(part[name], pruned[name])


@given(percent=st.integers(0, 99), inputs=st.integers(1, 9), hidden=st.integers(1, 9), seed=st.integers(0, 99))
def test_exact_counts_of_each_layers_weights_go_and_biases_stay(percent, inputs, hidden, seed):
    q = posterior([inputs, hidden, 2], models=2, seed=seed)
    pruned = prune(q, percent)
    for name in ("W1", "W2"):
        count = q.mean[name][0].numel()
        assert (pruned.mean[name] == 0).flatten(1).sum(1).tolist() == [count * percent // 100] * 2
        assert torch.equal(pruned.mean[name] == 0, pruned.log_std[name] == -torch.inf)
    for name in ("b1", "b2"):
        assert torch.equal(pruned.mean[name], q.mean[name])


@pytest.mark.parametrize("percent", PERCENTS)
def test_what_goes_is_denser_at_zero_than_what_stays(percent):
    """Against the density itself, in float64 from torch.distributions: N(0 | μ, σ²) relative to its peak."""
    q = posterior([8, 5, 3], models=2)
    pruned = prune(q, percent)
    for name in ("W1", "W2"):
        normal = torch.distributions.Normal(q.mean[name].double(), q.log_std[name].double().exp())
        density = (normal.log_prob(torch.zeros(())) - normal.log_prob(normal.mean)).exp()
        for model in range(2):
            gone = pruned.mean[name][model] == 0
            if gone.any():
                assert density[model][gone].min() >= density[model][~gone].max()


def test_the_order_survives_where_the_density_underflows():
    mean = torch.tensor([[60.0, 50.0, 70.0]])
    order = log_density(mean, torch.zeros_like(mean)).argsort(descending=True)
    assert (-(mean**2) / 2).exp().eq(0).all()
    assert order.tolist() == [[1, 0, 2]]


def test_accuracy_is_the_share_of_right_answers(digits):
    q = posterior([25, 4, 3], models=2)
    answers = logits(q.mean, scale(digits.test_images).unsqueeze(0)).argmax(2)
    expected = [(answers[model] == digits.test_labels).sum().item() / 100 for model in range(2)]
    assert accuracy(q, digits.test_images, digits.test_labels).tolist() == expected


def test_a_network_that_nothing_is_lost_of_has_stability_one(digits):
    """All weights zero: whatever is pruned, the biases alone answer."""
    q = posterior([25, 4, 3], models=2)
    for name in ("W1", "W2"):
        q.mean[name].zero_()
    curve = accuracy_curve(q, digits.test_images, digits.test_labels)
    assert curve.shape == (2, len(PERCENTS))
    assert stability(curve).tolist() == [1, 1]


def test_stability_compares_the_ends_of_the_curve():
    assert stability(torch.tensor([[0.9, 0.8, 0.45]])).item() == pytest.approx(2)
