"""The peers of `make bench`: one function each, by the library's own public names, all for the same training step.

The step: a 784-100-10 network, a batch of 128 digits, KL to N(0, 0.1²) weighted by LAM / N, Adam at 5e-4. A library
that weighs or estimates the KL in a way of its own keeps it; `estimator` says how the weights' noise is drawn. Where a
library has a faster way of its own, that is the one taken. `python benchmarks/peers.py NAME DIGITS` is a process that
speed.py asks for one repeat after the other.
"""

import argparse
import itertools
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

SIZES = [784, 100, 10]
BATCH = 128
BATCHES = 100  # prepared for the peers, which so pay neither for choosing digits nor for making floats of bytes
LAM = 1.0
PRIOR_STD = 0.1
LEARNING_RATE = 5e-4
INIT_LOG_STD = -3.0
SAMPLED, LOCAL = "weights sampled", "local reparameterisation"

Step = Callable[[Any, Any], Any]  # (images [B, 784], labels [B]) -> loss of the batch


class Peer(NamedTuple):
    """One way to make the step."""

    label: str
    package: str  # whose version is reported
    estimator: str
    make: Callable[[int], Step]  # number of digits -> step
    framework: str = "torch"
    linear: bool = False  # a linear hypernetwork, with one sampled lambda a step
    loader: bool = False  # end to end: all digits, through a DataLoader
    environment: str = ".venv-bench"


def autograd(parameters: Iterable, loss: Step) -> Step:
    """A step by autograd and the fastest Adam that PyTorch has."""
    import torch

    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(x, y)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def plain(count: int) -> Step:
    """What one writes by hand in PyTorch: two layers by local reparameterisation, autograd, fused Adam."""
    import torch
    from torch.nn.functional import cross_entropy

    layers = []
    for fan_in, fan_out in pairwise(SIZES):
        weight = torch.nn.init.xavier_uniform_(torch.empty(fan_in, fan_out))
        means = [weight, torch.randn(fan_out)]
        layers.append([t.requires_grad_() for m in means for t in (m, torch.full_like(m, INIT_LOG_STD))])

    def loss(x: Any, y: Any) -> Any:
        kl = 0
        for k, (weight, log_std, bias, bias_log_std) in enumerate(layers):
            x = x.relu() if k else x
            variance = torch.addmm((2 * bias_log_std).exp(), x * x, (2 * log_std).exp())
            mean = torch.addmm(bias, x, weight)
            x = mean + variance.sqrt() * torch.randn_like(mean)
            for m, s in ((weight, log_std), (bias, bias_log_std)):
                kl = kl + normal_kl(m, s, (2 * s).exp())
        return cross_entropy(x, y) + LAM / count * kl

    return autograd([t for layer in layers for t in layer], loss)


def normal_kl(mean: Any, log_std: Any, variance: Any) -> Any:
    """KL(N(mean, std²) || N(0, PRIOR_STD²)), up to a constant, summed; of torch's tensors or JAX's arrays."""
    return ((mean * mean + variance) / (2 * PRIOR_STD**2) - log_std).sum()


def torchbnn(count: int) -> Step:
    from torch.nn import ReLU, Sequential
    from torch.nn.functional import cross_entropy
    from torchbnn import BayesLinear, BKLLoss

    first, second = (BayesLinear(0, PRIOR_STD, *ends) for ends in pairwise(SIZES))
    network, kl = Sequential(first, ReLU(), second), BKLLoss("sum")
    return autograd(network.parameters(), lambda x, y: cross_entropy(network(x), y) + LAM / count * kl(network)[0])


def bayesian_torch(count: int, kind: str) -> Step:
    """Its KL is a mean over each tensor, so that LAM / N would all but lose it: it is weighted by the first's size."""
    from bayesian_torch import layers
    from torch.nn.functional import cross_entropy

    linear = partial(getattr(layers, kind), prior_variance=PRIOR_STD, posterior_rho_init=INIT_LOG_STD)
    first, second = (linear(*ends) for ends in pairwise(SIZES))

    def loss(x: Any, y: Any) -> Any:
        hidden, kl1 = first(x)
        logits, kl2 = second(hidden.relu())
        return cross_entropy(logits, y) + LAM / count * SIZES[0] * SIZES[1] * (kl1 + kl2)

    return autograd([*first.parameters(), *second.parameters()], loss)


def blitz(count: int) -> Step:
    from blitz.losses import kl_divergence_from_nn
    from blitz.modules import BayesianLinear
    from torch.distributions import Normal
    from torch.nn import ReLU, Sequential
    from torch.nn.functional import cross_entropy

    linear = partial(BayesianLinear, prior_dist=Normal(0, PRIOR_STD), posterior_rho_init=INIT_LOG_STD)
    first, second = (linear(*ends) for ends in pairwise(SIZES))
    network = Sequential(first, ReLU(), second)

    def loss(x: Any, y: Any) -> Any:
        return cross_entropy(network(x), y) + LAM / count * kl_divergence_from_nn(network)

    return autograd(network.parameters(), loss)


def tyxe(count: int, local: bool) -> Step:
    import pyro
    import tyxe
    from pyro.infer import SVI, TraceMeanField_ELBO
    from torch.nn import Linear, ReLU, Sequential

    pyro.enable_validation(False)  # checks that cost time and change no number
    first, second = (Linear(*ends) for ends in pairwise(SIZES))
    prior = tyxe.priors.IIDPrior(pyro.distributions.Normal(0.0, PRIOR_STD))
    guide = partial(tyxe.guides.AutoNormal, init_scale=float(np.exp(INIT_LOG_STD)))
    likelihood = tyxe.likelihoods.Categorical(count)
    network = tyxe.VariationalBNN(Sequential(first, ReLU(), second), prior, likelihood, guide)
    optimizer = pyro.optim.Adam({"lr": LEARNING_RATE})
    svi = SVI(network.model, network.guide, optimizer, loss=TraceMeanField_ELBO())
    if local:
        tyxe.poutine.local_reparameterization().__enter__()  # for as long as the process lives
    return lambda x, y: svi.step((x,), y) / count


def posteriors(count: int) -> Step:
    import posteriors
    import torch
    import torchopt
    from torch.func import functional_call
    from torch.nn.functional import cross_entropy

    first, second = (torch.nn.Linear(*ends) for ends in pairwise(SIZES))
    network = torch.nn.Sequential(first, torch.nn.ReLU(), second)

    def log_posterior(params: Any, batch: Any) -> Any:
        x, y = batch
        prior = posteriors.diag_normal_log_prob(params, mean=0.0, sd_diag=PRIOR_STD)
        return -cross_entropy(functional_call(network, params, (x,)), y) + LAM / count * prior, torch.tensor([])

    transform = posteriors.vi.diag.build(
        log_posterior, torchopt.adam(lr=LEARNING_RATE), temperature=LAM / count, init_log_sds=INIT_LOG_STD
    )
    state = transform.init({name: t.detach() for name, t in network.named_parameters()})

    def step(x: Any, y: Any) -> Any:
        nonlocal state
        state, _ = transform.update(state, (x, y))
        return state.nelbo

    return step


def hypnettorch(count: int) -> Step:
    """Every mean and log standard deviation linear in lambda; its main network takes the weights drawn from them."""
    import torch
    from hypnettorch.hnets import HMLP
    from hypnettorch.mnets.mlp import MLP
    from torch.nn.functional import cross_entropy

    network = MLP(n_in=SIZES[0], n_out=SIZES[2], hidden_layers=SIZES[1:2], no_weights=True, verbose=False)
    shapes = network.param_shapes
    hyper = HMLP(shapes * 2, uncond_in_size=1, cond_in_size=0, layers=(), num_cond_embs=0, verbose=False)
    bias = hyper.unconditional_params[1]  # of its only layer: the constants of all means, then of all deviations
    torch.nn.init.constant_(bias.data[len(bias) // 2 :], INIT_LOG_STD)
    lambdas = itertools.cycle(10 ** (3 * torch.rand(BATCHES, 1, 1) - 1))  # the losses of two passes can be compared

    def loss(x: Any, y: Any) -> Any:
        lam = next(lambdas)
        generated = hyper(uncond_input=lam / 100)
        means, log_stds = generated[: len(shapes)], generated[len(shapes) :]
        stds = [s.exp() for s in log_stds]
        kl = sum(normal_kl(m, s, std * std) for m, s, std in zip(means, log_stds, stds, strict=True))
        weights = [m + std * torch.randn_like(m) for m, std in zip(means, stds, strict=True)]
        return cross_entropy(network(x, weights=weights), y) + lam[0, 0] / count * kl

    return autograd(hyper.parameters(), loss)


def jax_by_hand(count: int) -> Step:
    import jax
    from jax import numpy as jnp

    key = jax.random.key(0)
    params = []
    for fan_in, fan_out in pairwise(SIZES):
        bound = (6 / (fan_in + fan_out)) ** 0.5
        key, one, two = jax.random.split(key, 3)
        means = [
            jax.random.uniform(one, (fan_out, fan_in), minval=-bound, maxval=bound),
            jax.random.normal(two, (fan_out,)),
        ]
        params.append([(m, jnp.full_like(m, INIT_LOG_STD)) for m in means])

    def loss(params: Any, x: Any, y: Any, key: Any) -> Any:
        kl = 0
        for k, ((weight, log_std), (bias, bias_log_std)) in enumerate(params):
            x = jax.nn.relu(x) if k else x
            variance, bias_variance = jnp.exp(2 * log_std), jnp.exp(2 * bias_log_std)
            noise = jax.random.normal(jax.random.fold_in(key, k), (len(x), len(bias)))
            # with weights [outputs, inputs] the gradient's matrix product takes 0.6 of the time of the other way round
            x = x @ weight.T + bias + jnp.sqrt((x * x) @ variance.T + bias_variance) * noise
            kl = kl + normal_kl(weight, log_std, variance) + normal_kl(bias, bias_log_std, bias_variance)
        fits = jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1)
        return LAM / count * kl - fits.mean()

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, x: Any, y: Any) -> Any:
        params, first, second, number, key = state
        key, one = jax.random.split(key)
        value, gradient = jax.value_and_grad(loss)(params, x, y, one)
        number += 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        size, scale = LEARNING_RATE / (1 - 0.9**number), 1 / (1 - 0.999**number)
        move = partial(jax.tree.map, lambda p, m, v: p - size * m / (jnp.sqrt(v * scale) + 1e-8))
        return value, (move(params, first, second), first, second, number, key)

    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = (params, zeros(params), zeros(params), jnp.zeros(()), key)

    def step(x: Any, y: Any) -> Any:
        nonlocal state
        value, state = update(state, x, y)
        return value

    step.program = lambda x, y: update.lower(state, x, y).as_text()
    return step


def tensorflow_probability(count: int, kind: str) -> Step:
    import tensorflow as tf
    import tensorflow_probability as tfp
    import tf_keras

    def prior(dtype: Any, shape: Any, *_: Any) -> Any:
        scales = tf.fill(shape, tf.constant(PRIOR_STD, dtype))
        return tfp.distributions.Independent(tfp.distributions.Normal(tf.zeros(shape, dtype), scales), len(shape))

    dense = partial(
        getattr(tfp.layers, kind),
        kernel_prior_fn=prior,
        bias_prior_fn=prior,
        bias_posterior_fn=tfp.layers.default_mean_field_normal_fn(),  # else the biases would have no deviation
    )
    network = tf_keras.Sequential([dense(SIZES[1], activation="relu"), dense(SIZES[2])])
    network.build((None, SIZES[0]))
    optimizer = tf_keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(network.trainable_variables)

    @tf.function  # jit_compile=True takes longer here
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            fits = tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x))
            value = tf.reduce_mean(fits) + LAM / count * tf.add_n(network.losses)
        gradient = tape.gradient(value, network.trainable_variables)
        optimizer.apply_gradients(zip(gradient, network.trainable_variables, strict=True))
        return value

    return step


PEERS = {
    "plain": Peer("PyTorch by hand: autograd, fused Adam", "torch", LOCAL, plain, environment=".venv"),
    "jax": Peer("JAX by hand: jit", "jax", LOCAL, jax_by_hand, "jax"),
    "torchbnn": Peer("torchbnn", "torchbnn", SAMPLED, torchbnn),
    "bayesian-torch": Peer(
        "bayesian-torch", "bayesian-torch", SAMPLED, partial(bayesian_torch, kind="LinearReparameterization")
    ),
    "blitz": Peer("blitz", "blitz-bayesian-pytorch", SAMPLED, blitz),
    "tyxe": Peer("TyXe", "tyxe", SAMPLED, partial(tyxe, local=False)),
    "tyxe-local": Peer("TyXe, local", "tyxe", LOCAL, partial(tyxe, local=True)),
    "posteriors": Peer("posteriors", "posteriors", SAMPLED, posteriors),
    "tfp": Peer(
        "TensorFlow Probability",
        "tensorflow-probability",
        SAMPLED,
        partial(tensorflow_probability, kind="DenseReparameterization"),
        "tensorflow",
    ),
    "tfp-local": Peer(
        "TensorFlow Probability, local",
        "tensorflow-probability",
        LOCAL,
        partial(tensorflow_probability, kind="DenseLocalReparameterization"),
        "tensorflow",
    ),
    "hypnettorch": Peer("hypnettorch", "hypnettorch", SAMPLED, hypnettorch, linear=True),
    "loader": Peer("PyTorch by hand, with a DataLoader", "torch", LOCAL, plain, loader=True, environment=".venv"),
}


def matmuls(peer: Peer, step: Step, x: Any, y: Any) -> list[int]:
    """How many matrix products of each layer's size a step makes, counted in what the framework runs."""
    if peer.framework == "torch":
        found = torch_matmuls(lambda: step(x, y))
    elif peer.framework == "jax":
        lines = [line for line in step.program(x, y).splitlines() if "dot_general" in line]
        found = [re.findall(r"\d+", " ".join(re.findall(r"tensor<([\dx]+)xf32>", line))) for line in lines]
    else:
        operations = step.get_concrete_function(x, y).graph.get_operations()
        products = [op for op in operations if op.type == "MatMul"]
        found = [[n for t in (*op.inputs, *op.outputs) for n in t.shape] for op in products]
    return of_layers(found)


def of_layers(found: Iterable[Iterable[int | str]]) -> list[int]:
    """Of matrix products, given by all lengths of their factors, how many have the lengths of each layer."""
    counts = Counter(frozenset(map(int, lengths)) for lengths in found)
    return [counts[frozenset((BATCH, *ends))] for ends in pairwise(SIZES)]


def torch_matmuls(run: Callable[[], object]) -> list[list[int]]:
    """The lengths of the factors of each matrix product that torch makes in a run; of a batch, of each of its own."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = function.overloadpacket.__name__
            if name in ("mm", "addmm", "bmm", "baddbmm"):
                *stack, _, _ = args[-2].shape
                lengths = [*args[-2].shape[-2:], *args[-1].shape[-2:]]
                found.extend([lengths] * int(np.prod(stack)))
            return function(*args, **kwargs or {})

    with Watch():
        run()
    return found


def flops(counts: list[int]) -> int:
    """Floating-point operations of a step's matrix products: a multiplication and an addition for each triple."""
    return sum(2 * BATCH * a * b * n for (a, b), n in zip(pairwise(SIZES), counts, strict=True))


def arrays(peer: Peer, digits: str) -> tuple[int, list[tuple[Any, Any]] | Any]:
    """The number of digits, and their batches as the framework likes them, prepared or from a DataLoader."""
    with np.load(digits) as file:
        count = len(file["labels"]) if peer.loader else BATCH * BATCHES
        x, y = file["images"][:count].astype(np.float32) / 127.5 - 1, file["labels"][:count].astype(np.int64)
    if peer.framework == "torch":
        import torch

        torch.set_num_threads(1)
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        if peer.loader:
            from torch.utils.data import DataLoader, TensorDataset

            return count, DataLoader(TensorDataset(x, y), BATCH, shuffle=True)
        like = torch.Tensor.contiguous
    elif peer.framework == "jax":
        from jax import numpy as jnp

        like = jnp.asarray
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        like = tf.constant
    return count, [(like(x[k : k + BATCH]), like(y[k : k + BATCH])) for k in range(0, count, BATCH)]


class Line:
    """The line to speed.py: standard output, which nothing else of this process then writes to."""

    def __init__(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, whatever threads a framework starts
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, **what: Any) -> int:
        """Say something, and wait to be asked for the next repeat; the process ends when nobody asks any more.

        Returns: how many passes over the batches that repeat has.
        """
        print(json.dumps(what), file=self.out, flush=True)
        request = sys.stdin.readline()
        if not request:
            os._exit(0)
        return int(request)


def serve(peer: Peer, digits: str) -> None:
    """Warm up, say what was counted, and then time a repeat whenever asked."""
    line = Line()
    count, batches = arrays(peer, digits)
    step = peer.make(count)

    def train(passes: int) -> float:
        losses = [step(x, y) for _ in range(passes) for x, y in batches]
        return sum(map(float, losses)) / len(losses)  # also waits for what still runs

    first = train(1)
    passes = line.tell(version=version(peer.package), counts=matmuls(peer, step, *next(iter(batches))))
    while True:
        begin = time.perf_counter()
        last = train(passes)
        seconds = time.perf_counter() - begin
        if not last < first:  # what doesn't train is no peer
            raise ArithmeticError(f"the loss went from {first} to {last} nats a digit")
        passes = line.tell(seconds=seconds, steps=passes * len(batches))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train one peer, a repeat for each line of standard input.")
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("digits", help="an .npz file with images [N, 784] of bytes, and labels [N]")
    given = parser.parse_args()
    serve(PEERS[given.name], given.digits)
