"""The sparse gradient is the gradient, at the cost of the nonzero pixels."""

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from ccbook import chapters, perform
from ccbook.machine import kernels, sparse
from ccbook.records import verification
from complexity_control import Digits, Model, Settings, direct, fit, linear, low_rank, tempered, training
from complexity_control.digits import scale
from complexity_control.method import Method
from complexity_control.posterior import Params, from_flat, layer_noise, normal, shapes
from complexity_control.training import Batch, Gradient
from tests.helpers import write_idx


def images(count: int, pixels: int, density: float, seed: int = 0) -> torch.Tensor:
    """Bytes, of which so many are not 0."""
    draw = torch.Generator().manual_seed(seed)
    bytes_ = torch.randint(1, 256, (count, pixels), generator=draw)
    return (bytes_ * (torch.rand(count, pixels, generator=draw) < density)).byte()


def sparse_digits(count: int = 200, pixels: int = 30) -> Digits:
    """Images of three classes, a fifth of their pixels not 0."""
    labels = torch.arange(count) % 3
    return Digits(images(count, pixels, 0.2), labels, images(60, pixels, 0.2, seed=1), labels[:60])


def hidden(params: Params, batch: Batch, settings: Settings) -> Tensor:
    """What the hidden units get, in double precision."""
    q = from_flat({name: tensor.double() for name, tensor in params.items()})
    x, power = scale(batch.images).double(), 2 if settings.bias_noise == "variance" else 1
    weight, bias = q.log_std["W1"].exp(), (power * q.log_std["b1"]).exp()
    if settings.estimator == "weights":
        drawn = x @ (q.mean["W1"] + weight * batch.noise[0])
        return drawn + (q.mean["b1"] + bias * batch.noise[1]).unsqueeze(1)
    deviation = (x**2 @ weight**2 + (bias**2).unsqueeze(1)).sqrt()
    return x @ q.mean["W1"] + q.mean["b1"].unsqueeze(1) + deviation * batch.noise[0]


def noise_of(settings: Settings, draws: Sequence[torch.Generator], layers: Sequence[int], batch: int) -> list[Tensor]:
    """As training.fit draws it."""
    if settings.estimator == "local":
        return layer_noise(draws, layers[1:], batch)
    return [normal(draws, shape) for shape in shapes(layers).values()]


def sparsely(method: Method, settings: Settings) -> Gradient:
    """For 200 digits."""
    return kernels.gradient(method, sparse_digits(), settings, "sparse")


def trained(method: Method, models: Sequence[Model], settings: Settings, begin: Params | None = None) -> Params:
    """By 200 digits, from a start or from the usual one."""
    digits = sparse_digits()
    return fit(method, models, digits, settings, begin, stepper=kernels.stepper(method, digits, settings, "sparse"))


@given(
    pixels=st.integers(1, 150),
    width=st.integers(sparse.LANES, 130),
    classes=st.integers(2, 40),
    batch=st.integers(1, 150),
    density=st.sampled_from([0.0, 0.05, 0.2, 0.6, 1.0]),
    stack=st.integers(1, 3),
    settings=st.builds(
        Settings,
        clip=st.sampled_from([0.0, 1e-3, 1.0]),
        estimator=st.sampled_from(["local", "weights"]),
        bias_noise=st.sampled_from(["std", "variance"]),
        prior_std=st.sampled_from([0.1, 2.0]),
        lam_power=st.sampled_from([0.0, 0.5]),
        init_log_std=st.floats(-6, -1),  # wider, and a hidden unit of tens multiplies the last digit
    ),
    seed=st.integers(0, 9),
    names=st.permutations([f"{part}.{name}" for part in ("mean", "log_std") for name in sparse.NAMES]),
)
def test_losses_and_gradients_are_those_of_autograd(
    pixels, width, classes, batch, density, stack, settings, seed, names
):
    draws = [torch.Generator().manual_seed(seed + k) for k in range(stack)]
    params = direct().init(draws, [pixels, width, classes], settings.init_log_std)
    params = params if settings.estimator == "weights" else {name: params[name] for name in names}
    seen = images(stack * batch, pixels, density, seed).view(stack, batch, pixels)
    labels = torch.randint(classes, (stack, batch), generator=draws[0])
    lam = 10 ** (3 * torch.rand(stack, 1, generator=draws[0]) - 1)
    minibatch = Batch(seen, labels, lam, noise_of(settings, draws, [pixels, width, classes], batch))
    units = hidden(params, minibatch, settings)
    assume(float(units.abs().min()) > 1e-5)  # where rounding decides whether a unit is on
    gradients, losses = sparsely(direct(), settings)(params, minibatch)
    expected, known = training.gradient_of(direct(), 200, settings)(params, minibatch)
    unclipped, _ = training.gradient_of(direct(), 200, replace(settings, clip=0))(params, minibatch)
    torch.testing.assert_close(losses, known, rtol=2e-5, atol=1e-5)
    # a weight's gradient is its bias's and what the pixels add, which may nearly cancel: so of the largest of all. And
    # a probability near 1 is known to 1e-7, perhaps a large part of its distance from 1; by W2 a unit multiplies it
    largest = max(float(tensor.abs().max()) for tensor in unclipped.values())
    for name, tensor in expected.items():
        error = float((gradients[name] - tensor).abs().max())
        assert error < 1e-5 * largest + 1e-6 * max(1, float(units.max()))


@pytest.mark.parametrize("method", [low_rank(), linear(init_slope=0.1), tempered()])
@pytest.mark.parametrize("clip", [0.0, 0.01])
@pytest.mark.parametrize("estimator", ["local", "weights"])
def test_hypernetworks_have_the_gradients_of_autograd(method, clip, estimator):
    settings = Settings(hidden=(20,), samples=3, lam_power=0.4, clip=clip, estimator=estimator)
    assert_as_autograd(method, settings, sparsely(method, settings))


def assert_as_autograd(method, settings, gradient):
    """Two models with three lambdas each, by their map to posteriors and its transpose."""
    models = [Model(None, 0), Model(None, 1)]
    digits, draws = sparse_digits(), [training.generator(m, "test", "cpu") for m in models]
    params = training.start(method, models, digits, settings)
    lam = training.sampled_lambdas(draws, settings)
    noise = noise_of(settings, [draw for draw in draws for _ in range(3)], [30, 20, 3], 100)
    batch = Batch(digits.train_images.view(2, 100, -1), digits.train_labels.view(2, 100), lam, noise)
    gradients, losses = gradient(params, batch)
    expected, known = training.gradient_of(method, 200, settings)(params, batch)
    torch.testing.assert_close(losses, known)
    for name, tensor in expected.items():
        torch.testing.assert_close(gradients[name], tensor, rtol=1e-4, atol=1e-5 * float(tensor.abs().max()))


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("method", [
    tempered(), pytest.param(low_rank(), marks=pytest.mark.deep), pytest.param(linear(), marks=pytest.mark.deep),
])  # fmt: skip
def test_a_hypernetworks_map_and_its_transpose_can_be_compiled(method, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "WORTH_COMPILING", 1)
    settings = Settings(hidden=(20,), samples=3)
    assert_as_autograd(method, settings, sparsely(method, settings))
    assert "uncompiled" not in capsys.readouterr().err


@pytest.mark.parametrize("method", [direct(), low_rank(), linear()])
@pytest.mark.parametrize("estimator", ["local", "weights"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_its_steps_are_those_of_torchs_adam_along_the_gradient(method, estimator, schedule):
    """Ten of them, on which the rate may fall to nothing."""
    settings = Settings(hidden=(20,), epochs=5, batch_size=100, estimator=estimator, schedule=schedule, clip=0.01)
    models = [Model(lam if kernels.is_direct(method) else None, seed) for lam, seed in ((1.0, 0), (10.0, 1))]
    by_torch = partial(training.along, sparsely(method, settings), 200, settings)
    expected = fit(method, models, sparse_digits(), settings, stepper=by_torch)
    begin = training.start(method, models, sparse_digits(), settings)
    for name, tensor in trained(method, models, settings).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0.01 * settings.learning_rate)
        assert float((tensor - begin[name]).abs().max()) > settings.learning_rate


@pytest.mark.parametrize("estimator", ["local", "weights"])
def test_a_model_has_the_same_bits_alone_in_a_stack_and_twice(estimator):
    settings = Settings(hidden=(20,), epochs=2, batch_size=33, estimator=estimator)
    models = [Model(1.0, 0), Model(10.0, 1)]
    together, again = (trained(direct(), models, settings) for _ in "12")
    for s, model in enumerate(models):
        for name, tensor in trained(direct(), [model], settings).items():
            assert torch.equal(tensor[0], together[name][s])
            assert torch.equal(together[name], again[name])


def test_a_training_may_start_from_tensors_in_any_order():
    settings, models = Settings(hidden=(20,), epochs=2, batch_size=33), [Model(1.0, 0)]
    begin = training.start(direct(), models, sparse_digits(), settings)
    expected = trained(direct(), models, settings, begin)
    for name, tensor in trained(direct(), models, settings, dict(reversed(begin.items()))).items():
        assert torch.equal(tensor, expected[name])


def test_it_serves_one_layer_on_sparse_bytes():
    digits, usual = sparse_digits(), Settings(hidden=(100,))
    assert kernels.is_sparse(digits, usual)
    assert kernels.is_sparse(digits, replace(usual, estimator="weights"))
    for settings in (
        Settings(hidden=(sparse.LANES - 1,)),
        Settings(hidden=(100, 100)),
        Settings(precision="bfloat16"),
    ):
        assert not kernels.is_sparse(digits, settings)
    for others in (images(200, 30, 0.6), images(200, 30, 0.2).float()):
        assert not kernels.is_sparse(digits._replace(train_images=others), usual)


@pytest.fixture
def soon(monkeypatch):
    """However short, a training is worth it."""
    monkeypatch.setattr(kernels, "WORTH_LOADING", 0)


@pytest.fixture
def digits_in_files(tmp_path):
    """The folder of sparse_digits()."""
    for name, tensor in zip(
        ("train-images", "train-labels", "t10k-images", "t10k-labels"), sparse_digits(), strict=True
    ):
        shape, kind = ((-1, 5, 6), 3) if "images" in name else ((-1,), 1)
        write_idx(tmp_path / f"{name}-idx{kind}-ubyte", tensor.byte().numpy().reshape(shape))
    return str(tmp_path)


@pytest.mark.parametrize("chapter", ["a_direct", "e_linear"])
def test_a_run_by_it_says_so_and_has_the_same_bytes_again(chapter, small, digits_in_files, soon):
    values = chapters.defaults(chapter) | small | {"dataset": digits_in_files, "hidden": [16]}
    run = perform.perform(chapter, values)
    assert run.receipt["gradient"] == "sparse"
    assert perform.verify(run).verdict == verification.SAME


@pytest.mark.parametrize("estimator", ["local", "weights"])
def test_a_fine_tuning_by_it_starts_where_it_should(small, digits_in_files, soon, estimator):
    """The file of a posterior has its tensors in another order than a new one."""
    small |= {"dataset": digits_in_files, "hidden": [16], "estimator": estimator}
    start = perform.perform("c_low_rank", chapters.defaults("c_low_rank") | small)
    values = chapters.defaults("d_low_rank_fine_tuned") | small | {"start": start.id, "learning_rate": 1e-30}
    run = perform.perform("d_low_rank_fine_tuned", values)
    assert run.receipt["gradient"] == "sparse"
    assert run.metrics["evidence"].tolist() == start.metrics["evidence"].tolist()


def test_without_numba_a_training_goes_on_by_torch_and_says_so_once(monkeypatch, soon, capsys):
    def missing(_):
        raise ImportError("No module named 'numba'")

    digits, settings = sparse_digits(), Settings(hidden=(20,), epochs=1)
    kernels._sparse.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    for _ in range(2):
        assert kernels.way(digits, settings) == "plain"
        stepper = kernels.stepper(direct(), digits, settings)
    assert capsys.readouterr().err.count("numba failed (No module named 'numba')") == 1
    found = fit(direct(), [Model(1.0, 0)], digits, settings, stepper=stepper)
    expected = fit(direct(), [Model(1.0, 0)], digits, settings)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    monkeypatch.undo()
    kernels._sparse.cache_clear()


def test_a_hypernetwork_goes_on_without_a_compiler_and_says_so_once(monkeypatch, soon, capsys):
    def without_compiler(*_):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: without_compiler)
    monkeypatch.setattr(kernels, "WORTH_COMPILING", 1)
    digits, settings, models = sparse_digits(), Settings(hidden=(20,), epochs=1), [Model(None, 0)]
    found = fit(linear(), models, digits, settings, stepper=kernels.stepper(linear(), digits, settings))
    assert capsys.readouterr().err.count("training uncompiled") == 1
    monkeypatch.setattr(kernels, "WORTH_COMPILING", 100)
    expected = fit(linear(), models, digits, settings, stepper=kernels.stepper(linear(), digits, settings))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_that_diverges_says_so_itself(optimizer):
    settings = Settings(hidden=(20,), epochs=3, optimizer=optimizer, learning_rate=1e30, clip=0)
    with pytest.raises(training.DivergedError, match="no longer finite"):
        trained(direct(), [Model(1.0, 0)], settings)
