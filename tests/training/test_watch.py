"""What goes wrong is seen: where, when, and only that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hardy.training.watch import NotFinite, collapsed

NAN, INF = float("nan"), float("inf")


def watched(*steps: dict[str, float]) -> NotFinite:
    watch = NotFinite()
    for i, values in enumerate(steps):
        watch.note(i, {name: torch.tensor(value) for name, value in values.items()})
    return watch


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([{"loss": 1.0, "kl": -1e30}], None),
        ([{"loss": NAN, "kl": 1.0}], (0, ["loss"])),
        ([{"loss": 1.0}, {"loss": INF}, {"loss": NAN}], (1, ["loss"])),
        ([{"loss": 1.0, "kl": -INF}, {"loss": NAN, "kl": NAN}], (0, ["kl"])),
        ([{"loss": 1.0, "kl": 1.0}, {"loss": NAN, "kl": INF}], (1, ["loss", "kl"])),
        ([{"loss": 1.0}, {"loss": 1.0, "late": NAN}], (1, ["late"])),
        ([{"loss": NAN}, {"loss": 1.0}, {"loss": 1.0}], (0, ["loss"])),  # it does not heal
    ],
)
def test_the_first_step_and_its_terms(
    steps: list[dict[str, float]], expected: tuple[int, list[str]] | None
) -> None:
    assert watched(*steps).found() == expected


def test_steps_are_named_as_they_were_noted() -> None:
    watch = NotFinite()
    for step in (4_000_000_000, 4_000_000_001):
        watch.note(step, {"loss": torch.tensor(NAN if step % 2 else 1.0)})
    assert watch.found() == (4_000_000_001, ["loss"])


def test_nothing_waits_for_the_device_before_it_is_asked() -> None:
    """A tensor that has no values yet cannot be read: noting it must not try."""
    watch = NotFinite()
    watch.note(0, {"loss": torch.empty((), device="meta")})
    with pytest.raises((RuntimeError, NotImplementedError)):
        watch.found()


def test_every_process_finds_what_any_has_seen() -> None:
    """Two processes, of which each has lost another term, one of them earlier."""
    here = watched({"loss": 1.0, "kl": 1.0}, {"loss": 1.0, "kl": NAN})
    there = watched({"loss": NAN, "kl": 1.0}, {"loss": 1.0, "kl": 1.0})
    sent: list[Tensor] = []
    for one in (here, there):
        one.found(lambda tensor: [sent.append(tensor) or tensor])

    def gather(tensor: Tensor) -> Sequence[Tensor]:
        return sent

    assert here.found(gather) == there.found(gather) == (0, ["loss"])
    fine = watched({"loss": 1.0, "kl": 1.0})
    assert fine.found() is None and fine.found(gather) == (0, ["loss"])


@pytest.mark.parametrize(
    ("robust", "clean", "n", "expected"),
    [
        ([], [], 1000, False),
        ([0.0], [0.1], 1000, False),
        ([0.4], [0.6], 1000, False),
        ([0.4, 0.0], [0.6, 0.8], 1000, True),  # as it is published: clean rises
        ([0.4, 0.4, 0.09], [0.6, 0.6, 0.6], 1000, True),
        ([0.4, 0.4, 0.1], [0.6, 0.6, 0.6], 1000, False),  # a quarter is not less than a quarter
        ([0.4, 0.3, 0.05], [0.6, 0.7, 0.8], 1000, True),  # in two steps: against the best
        ([0.4, 0.0, 0.4], [0.6, 0.8, 0.6], 1000, False),  # it came back
        ([0.24, 0.11], [0.30, 0.16], 1000, False),  # both fell by about as much: it diverges
        ([0.4, 0.08], [0.6, 0.24], 1000, True),  # clean kept 2/5, robust 1/5
        ([0.4, 0.08], [0.6, 0.23], 1000, False),
        ([0.4, 0.0], [0.6, 0.15], 1000, True),
        ([0.4, 0.0], [0.6, 0.14], 1000, False),  # both are below a quarter
        ([0.4, 0.0], [0.6, 0.0], 1000, False),
        ([0.0, 0.0], [0.5, 0.9], 1000, False),  # there was nothing to lose
        ([0.0, 0.0], [0.0, 0.0], 1000, False),
    ],
)
def test_collapsed(robust: list[float], clean: list[float], n: int, expected: bool) -> None:
    assert collapsed(robust, clean, n) == expected


@pytest.mark.parametrize(("best", "enough"), [(0.1, 86), (0.3, 26), (0.5, 14), (1.0, 5)])
def test_a_fall_that_chance_can_explain_is_none(best: float, enough: int) -> None:
    """To zero the fall is `best` and the pooled proportion half of it, so that three standard
    errors are 3 sqrt(best (1 - best / 2) / n): less where n > 9 (1 - best / 2) / best, that is
    85.5, 25.5, 13.5 and, though a best of all seems to have no spread, 4.5 pictures."""
    assert collapsed([best, 0.0], [1.0, 1.0], enough)
    assert not collapsed([best, 0.0], [1.0, 1.0], enough - 1)


def test_what_is_left_counts_into_the_standard_error() -> None:
    """0.5 to 0.1: pooled 0.3, so 3 sqrt(2 0.3 0.7 / n) < 0.4 where n > 23.6."""
    assert collapsed([0.5, 0.1], [0.9, 0.9], 24) and not collapsed([0.5, 0.1], [0.9, 0.9], 23)
