"""Losses of logits, one value for each example unless their name says otherwise.

Half types are computed in float32, because a mean over a batch underflows in them and
constants such as 1e-12 vanish; doubles stay doubles.

Shapes: logits_BK, y_B (int64), values (B,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def full(logits: Tensor) -> Tensor:
    """The logits in a type in which losses can be trusted."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each example, (B,), in nats."""
    return F.cross_entropy(full(logits), y, reduction="none")


def kl_divergence(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p || q) of each example, (B,), in nats, p and q given by their logits.

    Summed over the classes: `.mean()` is the reduction called batchmean, `.sum()` the one
    that attacks ascend. Gradients flow into both sides; detach what is to stay fixed.
    """
    log_p = full(logits_p).log_softmax(1)
    log_q = full(logits_q).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def probabilities(logits: Tensor) -> Tensor:
    """The softmax, (B, K), in a type in which losses can be trusted."""
    return full(logits).softmax(1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest wrong logit less the right one, (B,): positive where misclassified
    (the loss f of Carlini and Wagner 2017, without a confidence offset)."""
    logits = full(logits)
    right = logits.gather(1, y[:, None])[:, 0]
    wrong = logits.scatter(1, y[:, None], float("-inf")).amax(1)
    return wrong - right


def log_odds_against(logits: Tensor, y: Tensor) -> Tensor:
    """The log of the odds against the right class, log((1 - p_y) / p_y), (B,).

    Cross-entropy is softplus of it, so both have gradients of one direction everywhere; but a
    confident network's never vanishes here, nor loses the right class's share to rounding.
    """
    logits = full(logits)
    right = logits.gather(1, y[:, None])[:, 0]
    return logits.scatter(1, y[:, None], float("-inf")).logsumexp(1) - right


def squared_error(p: Tensor, q: Tensor) -> Tensor:
    """||p - q||_2^2 of each example, (B,), p and q distributions over the classes (B, K)."""
    return (p - q).square().sum(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference-of-logits ratio, (B,): the margin over the spread of the largest and the
    third largest logit, so that neither shift nor scale of the logits moves it (Croce and Hein
    2020, eq. 6). It needs three classes."""
    logits = full(logits)
    first, _, third = logits.topk(3, 1).values.unbind(1)
    return margin(logits, y) / (first - third + 1e-12)


def dlr_towards(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted difference-of-logits ratio, (B,): target's logit less the right one's, over
    the largest less the mean of the third and fourth (Croce and Hein 2020, eq. 7). It needs
    four classes."""
    logits = full(logits)
    first, _, third, fourth = logits.topk(4, 1).values.unbind(1)
    ahead = difference(logits, y, target)
    return ahead / (first - (third + fourth) / 2 + 1e-12)


def difference(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The logit of class `target` less that of class y, (B,): zero on their boundary."""
    logits = full(logits)
    both = logits.gather(1, torch.stack([target, y], 1))
    return both[:, 0] - both[:, 1]
