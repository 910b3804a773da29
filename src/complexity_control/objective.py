"""The terms of the generalised evidence, one function each; all in nats."""

import math

from torch import Tensor
from torch.nn.functional import cross_entropy

from complexity_control.posterior import Posterior


def kl(q: Posterior, prior_std: float) -> Tensor:
    """KL(q || N(0, prior_std² I)), the complexity term of eq. (2).

    Returns: nats, shape [S], summed over all parameters.
    Raises: ValueError if prior_std is not positive.
    """
    if not prior_std > 0:
        raise ValueError(f"prior_std is {prior_std}; a standard deviation must be positive")
    terms = []
    for name, mean in q.mean.items():
        squares = (mean * mean + (2 * q.log_std[name]).exp()).flatten(1).sum(1)
        log_ratios = q.log_std[name].flatten(1).sum(1) - mean[0].numel() * math.log(prior_std)
        terms.append(squares / (2 * prior_std**2) - log_ratios - mean[0].numel() / 2)
    return sum(terms[1:], start=terms[0])


def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """log p(D | w) of a batch, summed over its digits.

    Args: logits [S, B, classes], labels [S, B]. Returns: nats, shape [S].
    """
    losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return -losses.view(labels.shape).sum(1)


def evidence(log_likelihood: Tensor, kl: Tensor, lam: Tensor) -> Tensor:
    """Generalised evidence E_q log p(D | w) - lam KL(q || p), the function that eq. (4) maximises.

    Returns: nats, shape [S].
    """
    return log_likelihood - lam * kl
