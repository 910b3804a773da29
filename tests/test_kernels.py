"""How a training is made fast on a processor, with the same numbers."""

import shutil
import timeit

import pytest
import torch

from ccbook.machine import kernels
from complexity_control import Model, Settings, direct, fit, linear, low_rank, start, training
from tests.test_training import training_batch


@pytest.fixture
def products():
    """The setting of the kernels, put back afterwards."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    yield torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    kernels.set_products(before)


def error_and_seconds(choice: str) -> tuple[float, float]:
    """How far a product by these kernels is off, and what it takes on one core."""
    kernels.set_products(choice)
    x, weight = torch.randn(128, 784), torch.randn(784, 100)
    error = (x.double() @ weight.double() - x @ weight).abs().max()
    return float(error), min(timeit.repeat(lambda: x @ weight, number=1, repeat=50))


def test_the_kernels_that_are_chosen_are_exact_and_the_others_no_faster_or_not_exact(products, capsys):
    threads = torch.get_num_threads()
    chosen = kernels.best_products.__wrapped__()  # a trial of its own, whatever was found before
    said = capsys.readouterr().err
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    measured = {choice: error_and_seconds(choice) for choice in ("none", "bf16")}
    torch.set_num_threads(threads)
    (exact, plain), (other, quick) = measured.values()
    assert measured[chosen][0] < 10 * exact < 1e-2
    if chosen == "bf16":
        assert quick < plain
    elif "round to bfloat16" in said:
        assert other > 10 * exact
    else:
        assert quick > plain / 3  # on a busy machine two trials may differ by much


def test_set_products_makes_the_choice(products):
    for choice in ("bf16", "none"):
        kernels.set_products(choice)
        assert products.fp32_precision == choice


METHODS = {"direct": direct(), "low_rank": low_rank(), "linear": linear()}


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("name", [
    "direct", pytest.param("low_rank", marks=pytest.mark.deep), pytest.param("linear", marks=pytest.mark.deep),
])  # fmt: skip
def test_compiled_and_as_it_stands_the_loss_has_the_same_gradient(digits, name, capsys):
    models, settings, method = [Model(None, seed) for seed in (0, 1)], Settings(hidden=(6,)), METHODS[name]
    params = start(method, models, digits, settings)
    batch = training_batch(digits, models, 1 if name == "direct" else 2)
    plain = training.gradient_of(method, 200, settings)
    (gradients, losses), (expected, known) = (g(params, batch) for g in (*kernels.compile_if_possible(plain), plain))
    assert "uncompiled" not in capsys.readouterr().err
    torch.testing.assert_close(losses, known)
    for tensor in expected:
        torch.testing.assert_close(gradients[tensor], expected[tensor], rtol=1e-4, atol=1e-6)


def test_a_long_training_is_compiled_and_goes_on_without_a_compiler_and_says_so_once(digits, monkeypatch, capsys):
    def without_compiler(*_):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: without_compiler)
    settings = Settings(hidden=(4,), epochs=1, batch_size=16)
    stepper = kernels.stepper(direct(), digits, settings)
    assert training.steps(200, settings) < kernels.WORTH_COMPILING
    expected = fit(direct(), [Model(1.0, 0)], digits, settings, stepper=stepper)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(kernels, "WORTH_COMPILING", 1)
    stepper = kernels.stepper(direct(), digits, settings)
    trained = fit(direct(), [Model(1.0, 0)], digits, settings, stepper=stepper)
    assert capsys.readouterr().err.count("training uncompiled") == 1
    assert all(torch.equal(trained[name], expected[name]) for name in expected)


def test_a_fault_of_the_functions_own_is_raised_as_it_is(monkeypatch):
    def faulty(_):
        raise RuntimeError("a fault of its own")

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    with pytest.raises(RuntimeError, match="a fault of its own"):
        kernels.compile_if_possible(faulty)[0](1)
