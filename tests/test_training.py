import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from complexity_control import direct, fit, from_flat, linear, low_rank, start, tempered, to_flat, training, updates
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import layer_noise, sampled_logits
from complexity_control.training import DivergedError, Model, Settings, generator

MODELS = [Model(lam, seed) for lam in (0.1, 10.0) for seed in (0, 1)]
ONE = MODELS[:1]
WIDTHS = [6, 3]  # of the layers of a small network, for digits of three classes


def small(**changes) -> Settings:
    return Settings(hidden=(6,), **changes)


def test_a_stack_of_four_trains_like_four_alone(digits):
    settings = small(epochs=2, batch_size=32)
    together = fit(direct(), MODELS, digits, settings)
    for k, model in enumerate(MODELS):
        for name, alone in fit(direct(), [model], digits, settings).items():
            torch.testing.assert_close(alone[0], together[name][k], rtol=1e-4, atol=1e-5)


def test_the_same_training_twice_gives_the_same_bits(digits):
    first, second = (fit(direct(), ONE, digits, small(epochs=2)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_begins_at_random_unless_it_is_given_where(digits):
    settings = small(epochs=1)
    expected = fit(direct(), MODELS, digits, settings)
    begun = fit(direct(), MODELS, digits, settings, begin=start(direct(), MODELS, digits, settings))
    assert all(torch.equal(begun[name], expected[name]) for name in expected)


def test_training_leaves_its_start_as_it_was(digits):
    params = start(direct(), MODELS, digits, small())
    before = {name: t.clone() for name, t in params.items()}
    fit(direct(), MODELS, digits, small(epochs=1), params)
    assert all(torch.equal(params[name], before[name]) for name in params)


def test_one_plain_sgd_step_follows_the_gradient_of_the_evidence(digits):
    """One step over the whole set as one batch moves by learning_rate × d evidence / N."""
    settings = small(epochs=1, batch_size=200, optimizer="sgd", clip=0, learning_rate=0.1)
    noise = generator(ONE[0], "training", "cpu")
    order = torch.randperm(200, generator=noise)
    params = {n: t.requires_grad_() for n, t in start(direct(), ONE, digits, settings).items()}
    q = from_flat(params)
    x = digits.train_images[order].float() / 127.5 - 1
    fits = log_likelihood(
        sampled_logits(q, x[None], layer_noise([noise], WIDTHS, 200)), digits.train_labels[order][None]
    )
    evidence(fits, kl(q, settings.prior_std), torch.tensor([0.1])).sum().backward()
    trained = fit(direct(), ONE, digits, settings, {n: t.detach() for n, t in params.items()})
    for name, t in params.items():
        assert t.grad is not None
        torch.testing.assert_close(trained[name], t.detach() + 0.1 * t.grad / 200, rtol=1e-4, atol=1e-6)


def test_no_entry_of_a_clipped_gradient_moves_further_than_the_clip(digits):
    settings = small(epochs=1, batch_size=200, optimizer="sgd", clip=1e-3, learning_rate=1.0)
    begin = start(direct(), ONE, digits, settings)
    trained = fit(direct(), ONE, digits, settings, begin)
    moves = torch.cat([(trained[name] - begin[name]).abs().flatten() for name in begin])
    assert moves.max() == pytest.approx(1e-3, rel=1e-3)


def test_at_a_huge_lambda_the_posterior_is_the_prior(digits):
    """lambda at its upper end: only the KL counts, and its maximiser is the prior."""
    settings = small(epochs=3, batch_size=2, learning_rate=0.02, prior_std=0.5, clip=0)
    q = from_flat(fit(direct(), [Model(1e6, 0)], digits, settings))
    for name in q.mean:
        assert q.mean[name].abs().max() < 0.1
        assert (q.log_std[name] - math.log(0.5)).abs().max() < 0.2


def test_at_a_tiny_lambda_the_digits_are_learnt(digits):
    model = Model(1e-6, 0)
    q = from_flat(fit(direct(), [model], digits, small(epochs=3, batch_size=10, learning_rate=0.02)))
    noise = layer_noise([generator(model, "evaluation", "cpu")], WIDTHS, 200)
    logits = sampled_logits(q, digits.train_images.float()[None] / 127.5 - 1, noise)
    fits = log_likelihood(logits, digits.train_labels[None])
    assert fits.item() > 0.3 * 200 * math.log(1 / 3)


@pytest.mark.parametrize(
    "method", [direct(), low_rank(), linear(), tempered()], ids=["direct", "low_rank", "linear", "tempered"]
)
def test_the_gradient_is_the_one_of_plain_autograd(digits, method):
    """Whatever the method; clipped by torch.func as by hand."""
    models = [Model(None, seed) for seed in (0, 1)]
    params = start(method, models, digits, small())
    batch = training_batch(digits, models, 1 if len(params) == 8 else 2)
    tracked = {n: t.clone().requires_grad_() for n, t in params.items()}
    expected = training.loss(method, tracked, batch, 200, small())
    expected.sum().backward()
    gradients, losses = training.gradient_of(method, 200, small(clip=0))(params, batch)
    clipped, _ = training.gradient_of(method, 200, small(clip=1e-3))(params, batch)
    torch.testing.assert_close(losses, expected.detach())
    for name, tensor in tracked.items():
        torch.testing.assert_close(gradients[name], tensor.grad, rtol=1e-4, atol=1e-6)
        assert torch.equal(clipped[name], gradients[name].clamp(-1e-3, 1e-3))


def training_batch(digits, models: list[Model], lambdas: int) -> training.Batch:
    """64 digits with so many lambdas for each model."""
    draws = [generator(m, "training", "cpu") for m in models]
    images, labels = (t[:64].expand(len(models), *t[:64].shape) for t in (digits.train_images, digits.train_labels))
    lam = torch.tensor([[0.5, 20.0], [3.0, 90.0]])[:, :lambdas]
    return training.Batch(images, labels, lam, layer_noise(draws * lambdas, WIDTHS, 64))


@pytest.mark.parametrize("method", [low_rank(), linear(init_slope=1)], ids=["low_rank", "linear"])
def test_the_loss_of_drawn_weights_is_the_one_written_out(digits, method):
    """Two models, two lambdas each: a draw of the weights for each lambda of a minibatch."""
    models = [Model(None, seed) for seed in (0, 1)]
    params, batch = start(method, models, digits, small()), training_batch(digits, models, 2)
    q = method.posterior(params, batch.lam)
    noise = [torch.randn(mean.shape) for mean in q.mean.values()]
    losses = training.loss(method, params, batch._replace(noise=noise), 200, small(estimator="weights"))
    expected = []
    for k, lam in enumerate(batch.lam.flatten()):
        w1, b1, w2, b2 = (q.mean[n][k] + q.log_std[n][k].exp() * draw[k] for n, draw in zip(q.mean, noise, strict=True))
        hidden = ((batch.images[0].float() / 127.5 - 1) @ w1 + b1).relu()
        fit = torch.distributions.Categorical(logits=hidden @ w2 + b2).log_prob(batch.labels[0]).mean()
        expected.append(lam * kl(q, 0.1)[k] / 200 - fit)
    torch.testing.assert_close(losses, torch.stack(expected).view(2, 2).mean(1))


def test_the_loss_of_each_lambda_is_weighed_by_its_power(digits):
    models = [Model(None, seed) for seed in (0, 1)]
    params, batch = start(linear(), models, digits, small()), training_batch(digits, models, 2)
    noise = [draw.view(2, 2, *draw.shape[1:]) for draw in batch.noise]
    alone = [batch._replace(lam=batch.lam[:, k : k + 1], noise=[draw[:, k] for draw in noise]) for k in (0, 1)]
    each = [training.loss(linear(), params, one, 200, small()) for one in alone]
    expected = (torch.stack(each, 1) * batch.lam**-0.4).mean(1)
    torch.testing.assert_close(training.loss(linear(), params, batch, 200, small(lam_power=0.4)), expected)


@pytest.mark.parametrize("estimator", ["local", "weights"])
def test_the_noise_of_biases_may_have_the_variance_for_its_deviation(digits, estimator):
    """As a posterior whose biases have the deviation sigma², but for the KL, which stays."""
    models = [Model(0.5, 0), Model(3.0, 0)]
    params = start(direct(), models, digits, small())
    squared = {n: 2 * t if n.startswith("log_std.b") else t for n, t in params.items()}
    batch = training_batch(digits, models, 1)
    if estimator == "weights":
        batch = batch._replace(noise=[torch.randn(t.shape) for n, t in params.items() if n.startswith("mean.")])
    settings = small(estimator=estimator)
    losses = training.loss(direct(), params, batch, 200, replace(settings, bias_noise="variance"))
    expected = training.loss(direct(), squared, batch, 200, settings)
    lam = batch.lam.flatten() / 200
    expected += lam * (kl(from_flat(params), 0.1) - kl(from_flat(squared), 0.1))
    torch.testing.assert_close(losses, expected)


def test_the_learning_rate_falls_along_a_cosine_to_zero(digits):
    """By plain gradient descent with a constant gradient, a parameter shows the sum of the rates."""

    def ones(params, batch):
        return {n: torch.ones_like(t) for n, t in params.items()}, torch.zeros(1)

    settings = small(epochs=3, batch_size=50, optimizer="sgd", learning_rate=0.1, schedule="cosine")
    begin = start(direct(), ONE, digits, settings)
    moved = fit(direct(), ONE, digits, settings, begin, stepper=partial(training.along, ones, 200, settings))
    rates = 0.1 * (1 + torch.cos(math.pi * torch.arange(12) / 12)) / 2
    for name, t in moved.items():
        torch.testing.assert_close(begin[name] - t, rates.sum().expand_as(t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", ["local", "weights"])
def test_digits_come_in_their_order_unless_they_are_shuffled(digits, estimator):
    def seen(**changes):
        settings, labels = small(epochs=2, batch_size=48, estimator=estimator, **changes), []
        plain = training.gradient_of(direct(), 200, settings)

        def noted(params, batch):
            labels.append(batch.labels)
            return plain(params, batch)

        fit(direct(), MODELS, digits, settings, stepper=partial(training.along, noted, 200, settings))
        return torch.cat(labels, dim=1)

    in_order = digits.train_labels.repeat(len(MODELS), 2)
    assert torch.equal(seen(shuffle=False), in_order)
    shuffled = seen()
    assert not torch.equal(shuffled, in_order)
    for epoch in shuffled.split(200, dim=1):
        assert torch.equal(epoch.sort(dim=1).values, in_order[:, :200].sort(dim=1).values)


def test_products_in_bfloat16_come_near_those_in_float32(digits):
    params = start(direct(), ONE, digits, small())
    noise = layer_noise([generator(ONE[0], "training", "cpu")], WIDTHS, 200)
    batch = training.Batch(digits.train_images[None], digits.train_labels[None], torch.tensor([[0.1]]), noise)
    exact = training.loss(direct(), params, batch, 200, small())
    near = training.loss(direct(), params, batch, 200, small(precision="bfloat16"))
    assert near.dtype == torch.float32
    assert near != exact
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0)


def test_a_diverging_training_says_where(digits):
    settings = small(epochs=3, optimizer="sgd", learning_rate=1e30, clip=0)
    with pytest.raises(DivergedError, match=r"epoch 1 at lambda 0\.1, seed 0.*learning_rate"):
        fit(direct(), ONE, digits, settings)


def test_updates_are_the_numbers_that_the_steps_move(digits):
    settings = small(epochs=3, batch_size=48)
    plain, count = training.gradient_of(direct(), 200, settings), 0

    def counted(params, batch):
        nonlocal count
        count += sum(t.numel() for t in params.values())
        return plain(params, batch)

    params = fit(direct(), ONE, digits, settings, stepper=partial(training.along, counted, 200, settings))
    assert updates(sum(t.numel() for t in params.values()), 200, settings) == count > 0


def test_each_epoch_tells_its_mean_loss(digits):
    losses: list[torch.Tensor] = []
    fit(direct(), MODELS, digits, small(epochs=4, learning_rate=0.01), on_epoch=losses.append)
    history = torch.stack(losses)
    assert history.shape == (4, len(MODELS))
    assert bool((history.diff(dim=0) < 0).all())


def test_updates_at_the_papers_scale():
    """Table 1 (a), with our 159 020 trained numbers in place of the 159 040 that its count implies."""
    assert 4 * updates(159_040, 60_000, Settings()) == 7_458_976_000
    assert 4 * updates(159_020, 60_000, Settings()) == 7_458_038_000


def test_generators_differ_by_seed_lambda_and_purpose():
    draws = {
        torch.randn(1, generator=generator(Model(lam, seed), purpose, "cpu")).item()
        for lam in (0.1, 1.0)
        for seed in (0, 1)
        for purpose in ("initialisation", "training", "evaluation")
    }
    assert len(draws) == 12


def test_weights_start_xavier_uniform():
    params = direct().init([generator(ONE[0], "initialisation", "cpu")], [784, 100, 10], -3.0)
    bound = math.sqrt(6 / 884)
    assert params["mean.W1"].abs().max() <= bound
    assert params["mean.W1"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert (params["log_std.W1"] == -3).all()


def test_flat_and_posterior_are_inverse(digits):
    params = start(direct(), MODELS, digits, small())
    again = to_flat(from_flat(params))
    assert again.keys() == params.keys()
    assert all(torch.equal(again[name], t) for name, t in params.items())
