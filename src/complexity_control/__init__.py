"""Variational networks of a chosen complexity: train a posterior for one lambda, or a hypernetwork for all.

O. S. Grebenkova, O. Yu. Bakhteev, V. V. Strijov, Variational deep learning model optimization with complexity control
(2021). In order: posterior (what is trained), objective (eqs. 2-4), methods (eqs. 5, 6), training (eq. 7), pruning.
"""

from complexity_control.digits import Digits, scale
from complexity_control.method import Method
from complexity_control.methods import direct, linear, low_rank, tempered
from complexity_control.objective import evidence, kl, log_likelihood
from complexity_control.posterior import Posterior, drawn, from_flat, logits, sampled_logits, to_flat
from complexity_control.pruning import accuracy, accuracy_curve, measure, prune, stability
from complexity_control.training import DivergedError, Model, Settings, fit, start, updates

__all__ = [
    "Digits", "DivergedError", "Method", "Model", "Posterior", "Settings", "accuracy", "accuracy_curve", "direct",
    "drawn", "evidence", "fit", "from_flat", "kl", "linear", "log_likelihood", "logits", "low_rank", "measure", "prune",
    "sampled_logits", "scale", "stability", "start", "tempered", "to_flat", "updates",
]  # fmt: skip
