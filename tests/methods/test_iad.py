"""IAD-I and IAD-II, values by hand, before and after the warm-up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hardy.methods.iad import IAD
from known_nets import assert_forwards_matter, between, counted, distilled, nets_of, with_batchnorm

# S(x) = (3/4, 1/4), S(x') = (1/3, 2/3); T(x) = (1/5, 4/5), T(x') = (1/2, 1/2); the label is 0.
TAUGHT = 0.2 * math.log(3 / 5) + 0.8 * math.log(6 / 5)  # KL(T(x) || S(x'))
MOVING = 0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4)  # KL(T(x') || S(x'))
OWN = 0.75 * math.log(9 / 4) + 0.25 * math.log(3 / 8)  # KL(S(x) || S(x'))
A = 0.5**0.1
NATURAL = between(np.array([9, 1]) / 10, np.array([4, 1]) / 5)
SAID = 0.8 * math.log(12 / 5) + 0.2 * math.log(3 / 10)  # KL((4/5, 1/5) || S(x'))
CE = math.log(3)


def test_the_first_form_by_hand() -> None:
    early, late = distilled(IAD(), progress=0.29), distilled(IAD(), progress=0.3)
    assert early == pytest.approx(
        {"loss": TAUGHT, "robust_kl": TAUGHT, "introspection": 0.0}, abs=1e-12
    )
    own = (1 - A) * OWN
    assert late == pytest.approx(
        {"loss": TAUGHT + own, "robust_kl": TAUGHT, "introspection": own}, abs=1e-12
    )


def test_the_paper_also_weighs_the_teachers_term() -> None:
    late = distilled(IAD(weighted=True), progress=0.5)
    assert late["loss"] == pytest.approx(A * TAUGHT + (1 - A) * OWN, abs=1e-12)
    assert distilled(IAD(weighted=True), progress=0.0)["loss"] == pytest.approx(TAUGHT, abs=1e-12)


def test_beta_is_the_power_of_the_trust() -> None:
    assert distilled(IAD(beta=1.0), progress=0.5)["introspection"] == pytest.approx(0.5 * OWN)
    assert distilled(IAD(beta=0.0), progress=0.5)["introspection"] == 0


def test_the_second_form_by_hand() -> None:
    method = IAD(labels=0.25, natural=0.25, weighted=True, target="adversarial", warmup=0.2)
    assert method.roles == ("robust", "natural")
    early = distilled(method, progress=0.1, natural=NATURAL)
    assert early["loss"] == pytest.approx(0.25 * CE + 0.5 * MOVING + 0.25 * SAID, abs=1e-12)
    late = distilled(method, progress=0.2, natural=NATURAL)
    middle = A * MOVING + (1 - A) * OWN
    assert late["loss"] == pytest.approx(0.25 * CE + 0.5 * middle + 0.25 * SAID, abs=1e-12)
    assert late["labels"] == pytest.approx(CE) and late["natural_kl"] == pytest.approx(SAID)


def test_the_gradient_flows_into_both_of_the_students_opinions() -> None:
    """d KL(p || p') / d clean logits = p (log p/p' - KL); beta 1 and T_y(x') = 1/2 halve it."""
    student = between(np.array([3, 1]) / 4, np.array([1, 2]) / 3)
    distilled(IAD(beta=1.0), progress=0.5, student=student, backward=True)
    p, q = np.array([3, 1]) / 4, np.array([1, 2]) / 3
    gap = np.log(p / q)
    assert student.clean.grad is not None and student.attacked.grad is not None
    np.testing.assert_allclose(student.clean.grad, 0.5 * p * (gap - (p * gap).sum()), atol=1e-12)
    taught = np.array([1, 4]) / 5
    np.testing.assert_allclose(student.attacked.grad, q - taught + 0.5 * (q - p), atol=1e-12)


def test_the_clean_picture_is_not_run_before_the_student_is_asked() -> None:
    net, batch = with_batchnorm()
    forward, sizes = counted(net)
    nets = IAD().prepare(nets_of(net, student=forward, teachers={"robust": with_batchnorm()[0]}))
    IAD().loss(nets, batch, batch.x, 0.0)
    assert sizes == [5]
    IAD().loss(nets, batch, batch.x, 0.9)
    assert sizes == [5, 5, 5]


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: IAD(forwards=forwards))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"beta": -1.0}, "IAD's beta must be at least 0"),
        ({"warmup": math.nan}, "IAD's warmup is the fraction of training"),
        ({"warmup": 60}, r"in \[0, 1\), such as 0\.3 for 60 of 200 epochs, not 60"),
        ({"labels": 0.5, "natural": 0.5}, "add up to less than 1, not 0.5 and 0.5"),
        ({"labels": -0.1}, "must not be negative"),
    ],
)
def test_settings_out_of_range(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        IAD(**setting)  # type: ignore[arg-type]


def test_the_natural_teacher_is_asked_for_by_name() -> None:
    net, _ = with_batchnorm()
    nets = nets_of(net, teachers={"robust": torch.nn.Identity()})
    with pytest.raises(ValueError, match=r"IAD needs a natural teacher: give --teacher natural="):
        IAD(natural=0.2).prepare(nets)
