import math

import pytest
import torch

from complexity_control import methods, parameters, training
from complexity_control.methods import direct, from_flat, to_flat
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import layer_noise, sampled_logits
from complexity_control.training import DivergedError, Model, fit, generator, updates

MODELS = [Model(lam, seed) for lam in (0.1, 10.0) for seed in (0, 1)]
SIZES = [25, 6, 3]


@pytest.fixture(name="settings")
def small_network(settings):
    return lambda **changes: settings(hidden=SIZES[1:-1], **changes)


def start(models):
    return direct.init([generator(m, "initialisation", "cpu") for m in models], SIZES, -3.0)


def test_a_stack_of_four_trains_like_four_alone(digits, settings):
    p = settings(epochs=2, batch_size=32)
    together = fit(direct, start(MODELS), MODELS, digits, p)
    for k, model in enumerate(MODELS):
        alone = fit(direct, start([model]), [model], digits, p)
        for name in alone:
            torch.testing.assert_close(alone[name][0], together[name][k], rtol=1e-4, atol=1e-5)


def test_the_same_training_twice_gives_the_same_bits(digits, settings):
    p = settings(epochs=2)
    first, second = (fit(direct, start(MODELS[:1]), MODELS[:1], digits, p) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_leaves_its_start_as_it_was(digits, settings):
    params = start(MODELS)
    before = {name: t.clone() for name, t in params.items()}
    fit(direct, params, MODELS, digits, settings(epochs=1))
    assert all(torch.equal(params[name], before[name]) for name in params)


def test_one_plain_sgd_step_follows_the_gradient_of_the_evidence(digits, settings):
    """One step over the whole set as one batch moves by learning_rate × d evidence / N."""
    p = settings(epochs=1, batch_size=200, optimizer="sgd", clip=0, learning_rate=0.1)
    model = MODELS[0]
    noise = generator(model, "training", "cpu")
    order = torch.randperm(200, generator=noise)
    params = {n: t.requires_grad_() for n, t in start([model]).items()}
    q = from_flat(params)
    x = digits.train_images[order].float() / 127.5 - 1
    fits = log_likelihood(
        sampled_logits(q, x[None], layer_noise([noise], SIZES[1:], 200)), digits.train_labels[order][None]
    )
    evidence(fits, kl(q, p.prior_std), torch.tensor([model.lam])).sum().backward()
    trained = fit(direct, {n: t.detach() for n, t in params.items()}, [model], digits, p)
    for name, t in params.items():
        torch.testing.assert_close(trained[name], t.detach() + 0.1 * t.grad / 200, rtol=1e-4, atol=1e-6)


def test_at_a_huge_lambda_the_posterior_is_the_prior(digits, settings):
    """lambda at its upper end: only the KL counts, and its maximiser is the prior."""
    p = settings(epochs=3, batch_size=2, learning_rate=0.02, prior_std=0.5, clip=0, profile="paper", seeds=[0])
    model = [Model(1e6, 0)]
    q = from_flat(fit(direct, start(model), model, digits, p))
    for name in q.mean:
        assert q.mean[name].abs().max() < 0.1
        assert (q.log_std[name] - math.log(0.5)).abs().max() < 0.2


def test_at_a_tiny_lambda_the_digits_are_learnt(digits, settings):
    p = settings(epochs=3, batch_size=10, learning_rate=0.02)
    model = [Model(1e-6, 0)]
    q = from_flat(fit(direct, start(model), model, digits, p))
    noise = layer_noise([generator(model[0], "evaluation", "cpu")], SIZES[1:], 200)
    logits = sampled_logits(q, digits.train_images.float()[None] / 127.5 - 1, noise)
    fits = log_likelihood(logits, digits.train_labels[None])
    assert fits.item() > 0.3 * 200 * math.log(1 / 3)


@pytest.mark.parametrize("method", [direct, methods.low_rank(), methods.linear()])
def test_compiled_and_as_it_stands_the_loss_has_the_same_gradient(digits, method):
    """Whatever the method; torch.func and torch.compile against plain autograd."""
    models = [Model(None, seed) for seed in (0, 1)]
    draws = [generator(m, "training", "cpu") for m in models]
    params = method.init(draws, SIZES, -3.0)
    lam = torch.tensor([[0.5, 20.0], [3.0, 90.0]])[:, : 1 if method is direct else 2]
    images, labels = digits.train_images[:64].expand(2, -1, -1), digits.train_labels[:64].expand(2, -1)
    batch = training.Batch(images, labels, lam, layer_noise(draws * lam.shape[1], SIZES[1:], 64))
    tracked = {n: t.clone().requires_grad_() for n, t in params.items()}
    expected = training.loss(method, tracked, batch, 200, 0.1)
    expected.sum().backward()
    for compiled in (False, True):
        gradients, losses = training._gradient(method, 200, 0.1, 0, "float32", compiled)(params, batch)
        torch.testing.assert_close(losses, expected.detach())
        for name, tensor in tracked.items():
            torch.testing.assert_close(gradients[name], tensor.grad, rtol=1e-4, atol=1e-6)


def test_products_in_bfloat16_come_near_those_in_float32(digits):
    model = MODELS[:1]
    params = start(model)
    noise = layer_noise([generator(model[0], "training", "cpu")], SIZES[1:], 200)
    batch = training.Batch(digits.train_images[None], digits.train_labels[None], torch.tensor([[0.1]]), noise)
    near, exact = (training.loss(direct, params, batch, 200, 0.1, precision) for precision in ("bfloat16", "float32"))
    assert near.dtype == torch.float32
    assert near != exact
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0)


@pytest.mark.parametrize(("rounds", "faster"), [(False, False), (False, True), (True, True)])
def test_other_product_kernels_are_taken_only_where_they_are_exact_and_faster(rounds, faster, monkeypatch, capsys):
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    exactly = torch.Tensor.__matmul__

    def product(x, weight):
        other = setting.fp32_precision == "bf16" and x.dtype == torch.float32
        return exactly(x.bfloat16(), weight.bfloat16()).float() if other and rounds else exactly(x, weight)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    seconds = {"none": 2.0 if faster else 1.0, "bf16": 1.0}
    monkeypatch.setattr(training.timeit, "timeit", lambda *_, **__: seconds[setting.fp32_precision])
    training._other_products_are_better.cache_clear()
    try:
        assert training.set_products() == ("bf16" if faster and not rounds else "none")
        assert ("round to bfloat16" in capsys.readouterr().err) == rounds
    finally:
        training._other_products_are_better.cache_clear()
        setting.fp32_precision = before


def test_without_a_compiler_training_goes_on_and_says_so_once(digits, settings, monkeypatch, capsys):
    monkeypatch.setattr(training, "WORTH_COMPILING", 1)
    p = settings(epochs=1, batch_size=16, prior_std=0.2)
    monkeypatch.setattr(torch, "compile", lambda function, **_: _without_compiler)
    trained = fit(direct, start(MODELS[:1]), MODELS[:1], digits, p)
    assert capsys.readouterr().err.count("training uncompiled") == 1
    monkeypatch.setattr(training, "WORTH_COMPILING", math.inf)
    expected = fit(direct, start(MODELS[:1]), MODELS[:1], digits, p)
    assert all(torch.equal(trained[name], expected[name]) for name in expected)


def _without_compiler(*_):
    raise RuntimeError("no working C++ compiler")


def test_a_diverging_training_says_where(digits, settings):
    p = settings(epochs=3, optimizer="sgd", learning_rate=1e30, clip=0)
    with pytest.raises(DivergedError, match=r"epoch 1 at lambda 0\.1, seed 0.*learning_rate"):
        fit(direct, start(MODELS[:1]), MODELS[:1], digits, p)


def test_updates_are_what_the_optimizer_is_asked_for(digits, settings, monkeypatch):
    count = 0

    def counted(self, closure=None):
        nonlocal count
        count += sum(p.numel() for group in self.param_groups for p in group["params"])

    monkeypatch.setattr(torch.optim.SGD, "step", counted)
    p = settings(epochs=3, batch_size=48, optimizer="sgd")
    params = start(MODELS[:1])
    fit(direct, params, MODELS[:1], digits, p)
    assert updates(sum(t.numel() for t in params.values()), len(digits.train_labels), p) == count > 0


def test_updates_at_the_papers_scale(given):
    """Table 1 (a), with our 159 020 trained numbers in place of the 159 040 that its count implies."""
    p = parameters.check("a_direct", given | {"profile": "paper"})
    assert 4 * updates(159_040, 60_000, p) == 7_458_976_000
    assert 4 * updates(159_020, 60_000, p) == 7_458_038_000


def test_generators_differ_by_seed_lambda_and_purpose():
    draws = {
        torch.randn(1, generator=generator(Model(lam, seed), purpose, "cpu")).item()
        for lam in (0.1, 1.0)
        for seed in (0, 1)
        for purpose in ("initialisation", "training", "evaluation")
    }
    assert len(draws) == 12


def test_weights_start_xavier_uniform():
    params = methods.direct.init([generator(MODELS[0], "initialisation", "cpu")], [784, 100, 10], -3.0)
    bound = math.sqrt(6 / 884)
    assert params["mean.W1"].abs().max() <= bound
    assert params["mean.W1"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert (params["log_std.W1"] == -3).all()


def test_flat_and_posterior_are_inverse():
    params = start(MODELS)
    assert to_flat(from_flat(params)).keys() == params.keys()
