"""RSLAD against the authors' numbers, values by hand and a linear network."""

from __future__ import annotations

import math

import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.rslad import RSLAD
from hardy.threat import L2, Linf
from known_nets import (
    assert_forwards_matter,
    assert_golden,
    distilled,
    linear_case,
    nets_of,
)

# T(x) = (1/5, 4/5) against S(x) = (3/4, 1/4) and S(x') = (1/3, 2/3)
NATURAL = 0.2 * math.log(4 / 15) + 0.8 * math.log(16 / 5)
ROBUST = 0.2 * math.log(3 / 5) + 0.8 * math.log(6 / 5)


def test_the_authors_attack_loss_and_gradients() -> None:
    method = RSLAD(reduction="mean", log_constant=1e-5)
    assert_golden(method, "rslad", PGD(Linf(8 / 255), steps=10, step_size=2 / 255))


def test_two_classes_by_hand() -> None:
    expected = {
        "loss": 5 / 6 * ROBUST + 1 / 6 * NATURAL,
        "robust_kl": ROBUST,
        "natural_kl": NATURAL,
    }
    assert distilled(RSLAD()) == pytest.approx(expected, abs=1e-12)
    half = distilled(RSLAD(reduction="mean", robust=0.5))
    assert half["loss"] == pytest.approx((ROBUST + NATURAL) / 4, abs=1e-12)


def test_the_constant_in_the_logarithm_by_hand() -> None:
    shift = 0.2 * math.log((0.2 + 0.1) / 0.2) + 0.8 * math.log((0.8 + 0.1) / 0.8)
    found = distilled(RSLAD(log_constant=0.1))
    assert found["robust_kl"] == pytest.approx(ROBUST + shift, abs=1e-12)
    assert found["natural_kl"] == pytest.approx(NATURAL + shift, abs=1e-12)


def test_one_step_ascends_from_the_teachers_clean_prediction() -> None:
    """d KL(t || p') / d logits' = p' - t."""
    case, other = linear_case(), linear_case()
    with torch.no_grad():
        for parameter in other.net.parameters():
            parameter.mul_(-0.7)
    x = case.batch.x
    start = x + 0.001 * case.batch.draws.normal((3, 2, 2), "start", torch.float64)
    t = other.net(x).softmax(1).detach().numpy()
    uphill = case.softmax(start.numpy()) - t
    nets = RSLAD().prepare(nets_of(case.net, teachers={"robust": other.net}))
    found = RSLAD().adversary(nets, case.batch, PGD(L2(9.0), steps=1, step_size=0.05))
    expected = case.stepped(start, uphill, 0.05).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: RSLAD(forwards=forwards))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"robust": 1.2}, r"RSLAD's robust must lie in \[0, 1\]"),
        ({"log_constant": -1e-5}, "log_constant must be at least 0"),
        ({"start": 0.0}, "start must be none or positive"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_settings_out_of_range(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RSLAD(**setting)  # type: ignore[arg-type]
