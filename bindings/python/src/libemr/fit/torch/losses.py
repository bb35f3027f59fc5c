"""losses.py - the entropy of predictions, for autograd, wherever tensors lie."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

__all__ = ["entropy"]


def entropy(
    logits: torch.Tensor, *, keep: torch.Tensor | None = None, per_log_classes: bool = False
) -> torch.Tensor:
    """The mean over rows of the entropy of softmax(logits), [..., classes], for ``.backward()``: no labels
    are needed. A single class is the logit of a yes. Parameters are those of `libemr.fit.entropy`."""
    z = logits if logits.dtype == torch.float64 else logits.float()
    n_classes = max(z.shape[-1], 2)
    log_p = torch.cat([logsigmoid(z), logsigmoid(-z)], -1) if z.shape[-1] == 1 else z.log_softmax(-1)
    rows = -(log_p.exp() * log_p).sum(-1)
    if keep is not None:
        rows = rows[keep != 0]
    return rows.mean() / (math.log(n_classes) if per_log_classes else 1)
