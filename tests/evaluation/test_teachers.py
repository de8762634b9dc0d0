"""What is said of teachers whose accuracies, and whose fall for a student's examples, are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts
from hardy.evaluation.statistics import wilson
from hardy.evaluation.teachers import FOOLED, ignorant, looked_at, natural
from hardy.threat import Linf

EPS = 8 / 255
PROTOCOL = Protocol(PGD(Linf(EPS), steps=10, random_start=False), restarts=1)


class Threshold(nn.Module):
    """Class 1 where the mean of one half of the picture is above the middle; the halves are the
    left ('left'), the right, or both."""

    def __init__(self, half: str) -> None:
        super().__init__()
        weight = torch.zeros(1, 2, 2)
        weight[..., {"left": slice(0, 1), "right": slice(1, 2), "both": slice(0, 2)}[half]] = 1
        self.weight = nn.Parameter(weight / weight.sum())

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).flatten(1).sum(1) - 127.5 / 255
        return torch.stack([-score, score], 1) * 20


def pictures(gaps: list[int]) -> Split:
    """A plain picture for each gap, that many grey levels and a half above the middle; class 1."""
    images = torch.tensor([128 + gap for gap in gaps], dtype=torch.uint8)
    images = images.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    count = len(gaps)
    return Split(images, torch.ones(count, dtype=torch.int64), torch.arange(count), "val")


def test_a_student_that_looks_elsewhere_fools_nobody() -> None:
    """Gaps of .5 to 9.5 grey levels: 8 of 10 fall below the radius of 8."""
    split = pictures(list(range(10)))
    found, verdicts = looked_at(Threshold("left"), Threshold("right"), split, PROTOCOL, "teacher")
    clean, robust, fooled = found
    assert (clean.value, robust.value, fooled.value) == (1.0, 0.2, 0.0)
    assert fooled.quantity == FOOLED and fooled.setting["restarts"] == 1 and fooled.n == 10
    assert all(m.setting["teacher"] and m.subject == "teacher" and m.split == "val" for m in found)
    assert int(verdicts.robust.sum()) == 2


def test_a_student_that_looks_at_the_same_fools_like_the_attack() -> None:
    split = pictures(list(range(10)))
    found, _ = looked_at(Threshold("left"), Threshold("left"), split, PROTOCOL, "teacher")
    assert found[2].value == 0.8 and found[2].interval == wilson(8, 10)
    # Both halves at once move only half of what the teacher looks at: twice the reach is needed.
    slow = looked_at(Threshold("left"), Threshold("both"), split, PROTOCOL, "teacher")[0]
    assert slow[2].value == 0.8, "in Linf each half moves by the whole radius"


def test_only_pictures_count_that_the_teacher_knows() -> None:
    """Of gaps below the middle the teacher says class 0, wrongly."""
    split = pictures([-3, -1, 0, 20])
    found, _ = looked_at(Threshold("left"), Threshold("left"), split, PROTOCOL, "teacher")
    assert [m.value for m in found] == [0.5, 0.25, 0.5] and found[2].n == 2


def test_a_teacher_who_knows_nothing_has_no_share() -> None:
    found, _ = looked_at(
        Threshold("left"), Threshold("left"), pictures([-3, -9]), PROTOCOL, "teacher"
    )
    assert [m.quantity for m in found] == ["clean accuracy", "robust accuracy"]


def test_both_networks_are_left_as_they_were() -> None:
    teacher = nn.Sequential(Threshold("left"), nn.Dropout(0.5))
    student = nn.Sequential(Threshold("right"), nn.Dropout(0.5))
    looked_at(teacher, student, pictures([3, 9]), PROTOCOL, "teacher")
    assert teacher.training and student.training and student[1].training
    assert all(p.requires_grad and p.grad is None for p in student.parameters())


def verdicts(clean: int, robust: int, n: int = 400) -> Verdicts:
    return Verdicts(torch.arange(n) < clean, torch.arange(n) < robust)


@pytest.mark.parametrize(
    ("clean", "robust", "warned"),
    [
        (380, 0, True),  # a naturally trained net
        (380, 60, True),  # 15 %, at most 18.9 %: below a quarter of 95 %
        (380, 80, False),  # 20 %, perhaps 24.2 %
        (120, 20, False),  # a weak but honest one: 5 % of 30 %, perhaps 7.6 %
        (340, 200, False),
    ],
)
def test_a_naturally_trained_teacher_is_told_by_what_it_keeps(
    clean: int, robust: int, warned: bool
) -> None:
    found = natural(verdicts(clean, robust), PROTOCOL, "teacher robust")
    assert (found is not None) == warned
    if found:
        assert found.grade == "serious" and found.check == "natural teacher"
        assert f"{100 * clean / 400:.1f} % of 400" in found.sentence
        assert found.evidence["robust"] == robust / 400


@pytest.mark.parametrize(("right", "warned"), [(40, True), (52, True), (60, False), (0, True)])
def test_a_teacher_that_is_right_by_chance(right: int, warned: bool) -> None:
    """400 pictures in ten classes: by chance 52 or more are right once in 32 times, 60 once in
    950."""
    split = Split(torch.zeros(400, 1, 2, 2), torch.arange(400) % 10, torch.arange(400), "val")
    found = ignorant(verdicts(right, right), split, "teacher robust")
    assert (found is not None) == warned
    if found:
        assert found.grade == "serious" and "--teacher-normalize" in found.sentence


def test_no_pictures_no_warning() -> None:
    assert natural(verdicts(0, 0, 0), PROTOCOL, "teacher") is None
