"""ARD: values by hand, and an attack that is PGD-AT's in train mode."""

from __future__ import annotations

import math

import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.ard import ARD
from hardy.threat import Linf
from known_nets import (
    assert_forwards_matter,
    counted,
    distilled,
    nets_of,
    with_batchnorm,
)

# T(x) = (1/5, 4/5); S(x') has the logits (0, ln 2), S(x) (ln 3, 0), and the label is 0.


def robust(tau: float) -> float:
    """tau^2 KL(T(x)/tau || S(x')/tau), the softmax of divided logits written out."""
    t, s = 4 ** (1 / tau), 2 ** (1 / tau)
    return tau**2 * (
        1 / (1 + t) * math.log((1 + s) / (1 + t))
        + t / (1 + t) * math.log(t * (1 + s) / (s + t * s))
    )


@pytest.mark.parametrize("tau", [1.0, 4.0, 30.0])
def test_two_classes_by_hand(tau: float) -> None:
    method = ARD(temperature=tau)
    assert distilled(method) == pytest.approx({"loss": robust(tau)}, abs=1e-10)
    found = distilled(ARD(temperature=tau, alpha=0.3))
    natural = math.log(4 / 3)
    assert found["natural"] == pytest.approx(natural, abs=1e-10)
    assert found["loss"] == pytest.approx(0.3 * robust(tau) + 0.7 * natural, abs=1e-10)


def test_at_high_temperature_it_is_the_squared_distance_of_logits() -> None:
    """tau^2 KL tends to 1/(2K) of the squared distance of the centred logits (Hinton et al.)."""
    gap = (math.log(4) - math.log(2)) / 2  # centred logits ±ln 4 / 2 and ±ln 2 / 2
    assert distilled(ARD(temperature=1000.0))["loss"] == pytest.approx(gap**2 / 2, rel=1e-3)


def test_the_attack_is_on_the_labels_in_train_mode_from_a_uniform_start() -> None:
    net, batch = with_batchnorm()
    teacher, _ = with_batchnorm()
    attack = PGD(Linf(0.03), steps=3)
    nets = ARD().prepare(nets_of(net, teachers={"robust": teacher}))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = ARD().adversary(nets, batch, attack)
    assert net.training and all(
        torch.equal(value, before[name]) for name, value in net.state_dict().items()
    )
    assert torch.equal(found, attack(net, batch.x, batch.y, batch.draws))


def test_the_clean_picture_is_run_only_where_it_counts() -> None:
    net, batch = with_batchnorm()
    forward, sizes = counted(net)
    nets = ARD().prepare(nets_of(net, student=forward, teachers={"robust": with_batchnorm()[0]}))
    ARD().loss(nets, batch, batch.x, 0.0)
    assert sizes == [5]
    ARD(alpha=0.5).loss(nets, batch, batch.x, 0.0)
    assert sizes == [5, 5, 5]


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: ARD(alpha=0.5, forwards=forwards))  # type: ignore[arg-type]


def test_alpha_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"ARD's alpha must lie in \[0, 1\], not 2"):
        ARD(alpha=2)


def test_without_a_teacher_there_is_no_lesson() -> None:
    with pytest.raises(ValueError, match=r"ARD needs a robust teacher: give --teacher robust=FILE"):
        ARD().prepare(nets_of(with_batchnorm()[0]))
