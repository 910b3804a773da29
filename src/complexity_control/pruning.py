"""Pruning by relative density, and what is measured of a trained posterior."""

import pandas as pd
import torch
from torch import Tensor

from complexity_control.digits import Digits, scale
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import Posterior, layer_noise, logits, sampled_logits
from complexity_control.training import Model, generator

PERCENTS = range(0, 100, 10)
EVALUATION_BATCH = 2_000  # digits at a time, to bound memory


def log_density(mean: Tensor, log_std: Tensor) -> Tensor:
    """Log of the relative density at zero, exp(-μ²/2σ²) (Graves, 2011); without log it underflows far from zero."""
    return -((mean / log_std.exp()) ** 2) / 2


def prune(q: Posterior, percent: int) -> Posterior:
    """Remove the given percent of each weight matrix, the densest at zero first; biases are kept.

    Exactly n * percent // 100 of n weights are removed: their mean and standard deviation become 0.
    """
    mean, log_std = dict(q.mean), dict(q.log_std)
    for name in [n for n in mean if n.startswith("W")]:
        density = log_density(mean[name], log_std[name]).flatten(1)
        removed = density.argsort(dim=1, descending=True, stable=True)[:, : density.shape[1] * percent // 100]
        mean[name] = mean[name].flatten(1).scatter(1, removed, 0.0).view_as(mean[name])
        log_std[name] = log_std[name].flatten(1).scatter(1, removed, -torch.inf).view_as(log_std[name])
    return Posterior(mean, log_std)


def accuracy(q: Posterior, images: Tensor, labels: Tensor) -> Tensor:
    """Share of digits that the mean network classifies rightly, shape [S]."""
    right = torch.zeros(len(q.mean["W1"]), dtype=torch.long, device=labels.device)
    for x, y in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
        right += (logits(q.mean, scale(x).unsqueeze(0)).argmax(2) == y).sum(1)
    return right.double() / len(labels)


def accuracy_curve(q: Posterior, images: Tensor, labels: Tensor) -> Tensor:
    """Accuracy with 0, 10, ..., 90 percent of the weights removed, shape [S, 10]."""
    return torch.stack([accuracy(prune(q, percent), images, labels) for percent in PERCENTS], dim=1)


def stability(curve: Tensor) -> Tensor:
    """Accuracy of the whole model over its accuracy with 90 percent removed, shape [S]; 1 where both are 0."""
    return torch.where(curve[:, 0] == curve[:, -1], 1, curve[:, 0] / curve[:, -1])


def expected_log_likelihood(q: Posterior, models: list[Model], digits: Digits) -> Tensor:
    """E_q log p(D | w) over the training set, one draw of the weights for each digit; nats, shape [S]."""
    generators = [generator(m, "evaluation", str(digits.train_labels.device)) for m in models]
    widths = [t.shape[1] for name, t in q.mean.items() if name.startswith("b")]
    total = torch.zeros(len(models), dtype=torch.float64, device=digits.train_labels.device)
    batches = zip(digits.train_images.split(EVALUATION_BATCH), digits.train_labels.split(EVALUATION_BATCH), strict=True)
    for x, y in batches:
        logits = sampled_logits(q, scale(x).expand(len(models), -1, -1), layer_noise(generators, widths, len(x)))
        total += log_likelihood(logits, y.expand(len(models), -1))
    return total


@torch.no_grad()
def measure(q: Posterior, models: list[Model], digits: Digits, prior_std: float) -> dict[str, pd.DataFrame]:
    """The tidy rows of a stack: curves (a row for each model and percent) and metrics (a row for each model)."""
    curve = accuracy_curve(q, digits.test_images, digits.test_labels)
    fits = expected_log_likelihood(q, models, digits)
    complexity = kl(q, prior_std).double()
    stack = pd.DataFrame(models)
    metrics = {
        "accuracy": curve[:, 0],
        "accuracy_curve_mean": curve.mean(1),
        "stability": stability(curve),
        "log_likelihood": fits,
        "kl": complexity,
        "evidence": evidence(fits, complexity, torch.tensor(stack["lam"], device=fits.device)),
    }
    points = pd.DataFrame({"pruned_percent": PERCENTS})
    return {
        "curves": stack.merge(points, how="cross").assign(accuracy=curve.flatten().tolist()),
        "metrics": stack.assign(**{name: values.tolist() for name, values in metrics.items()}),
    }
