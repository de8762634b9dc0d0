"""RiFT: robust critical fine-tuning (Zhu et al., ICCV 2023, arXiv 2308.02533).

    1. measure the robust criticality (MRC) of every module
    2. fine-tune the least critical one on clean pictures
    3. interpolate, and keep the most accurate point at the same robustness

MRC bounds the harm that a change can do and does not predict its gain, so the choice may
be widened: to the k least critical modules, to those of the highest clean potential, to
several learning rates. Whatever is tried is measured on the split made for choosing, and
the point is chosen there; the reported split is read by the caller, once, afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts, adversarial, judge
from hardy.evaluation.steps import Steps
from hardy.finetuning.deciding import Rule, Unjudged, deciding_path
from hardy.finetuning.interpolate import Point, choose, path
from hardy.finetuning.kept import room_on
from hardy.finetuning.mrc import Ascent, Criticality, OfficialAscent, candidates, mrc
from hardy.finetuning.tune import Candidate, tune
from hardy.training.settings import Settings

if TYPE_CHECKING:
    from hardy.training.engine import Engine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tried:
    """A candidate, the entries of the state dict that it changed, and its points. unjudged: the
    alphas at which robust accuracy was not measured, because the choice does not need it."""

    candidate: Candidate
    changed: dict[str, Tensor]
    points: list[Point]
    unjudged: list[Unjudged] = field(default_factory=list)


def criticalities(
    model: nn.Module,
    split: Split,
    protocol: Protocol,
    *,
    ascent: Ascent | OfficialAscent,
    modules: Sequence[str] | None = None,
    racing: int | None = None,
    x_adv: Callable[[], Tensor] | None = None,
    copies: int = 1,
    steps: Steps | None = None,
    say: Say = lambda _: None,
    note: Say = lambda _: None,
) -> Iterator[Criticality]:
    """Step 1: the criticality of every module on the adversarial examples of a split, those
    already kept in `steps` first. protocol: how the examples are made, and the precision and
    batches of the ascent. racing: as in `mrc`. x_adv: gives the examples, where they are not to
    be made here. copies: processes that share this machine's memory.
    """
    steps = steps or Steps()
    kept = steps.json("mrc") or []
    found = [criticality_of(one) for one in kept]
    notes: list[str] = steps.json("mrc notes") or []
    for sentence in notes:
        note(sentence)

    def keep_note(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)
            steps.keep_json("mrc notes", notes)
            note(sentence)

    yield from found
    done = {one.module for one in found}
    if done.issuperset(candidates(model) if modules is None else modules):
        return
    for one in mrc(
        model,
        split.pixels(slice(None)),
        adversarial(model, split, protocol) if x_adv is None else x_adv(),
        split.labels,
        modules=modules,
        done=found,
        ascent=ascent,
        racing=racing,
        precision=protocol.precision,
        batch_size=protocol.batch_size,
        room=room_on(split.device, copies),
        note=keep_note,
    ):
        kept.append(asdict(one))
        steps.keep_json("mrc", kept)
        least = "" if one.complete else f"at least (after step {one.steps}) "
        say(
            f"{one.module}: MRC {least}{one.mrc:.4f}, "
            f"robust accuracy {-100 * one.robust_drop:+.2f} points"
        )
        yield one


def criticality_of(kept: Mapping[str, Any]) -> Criticality:
    """The criticality that JSON has kept, whose interval is a list."""
    return Criticality(**{**kept, "interval": tuple(kept["interval"])})


def ranked(found: Sequence[Criticality], choose_by: str, k: int) -> list[str]:
    """Step 2's candidates: the k least critical modules ('mrc'), the k of the highest clean
    potential ('potential'), or both lists without repetition ('both')."""
    least = [one.module for one in sorted(found, key=lambda one: one.mrc)[:k]]
    most = [one.module for one in sorted(found, key=lambda one: -one.clean_potential)[:k]]
    lists = {"mrc": least, "potential": most, "both": [*least, *most]}
    return list(dict.fromkeys(lists[choose_by]))


def attempt(
    engine: Engine,
    model: nn.Module,
    candidate: Candidate,
    train: Split,
    augment: Augment | None,
    settings: Settings,
    alphas: Sequence[float],
    choosing: Split,
    protocol: Protocol,
    steps: Steps,
    *,
    rule: Rule | None = None,
    say: Say = lambda _: None,
) -> Tried:
    """Steps 2 and 3 for one candidate: tune it, and measure the way there; with a rule only as
    much of it as it takes to find the point that the rule chooses. say: is told of fine-tuning
    from kept values, or why not."""
    changed = steps.tensors(f"tuned {candidate.label}")
    if changed is None:
        attack = protocol.attack
        changed = tune(engine, model, candidate, train, augment, settings, attack, say)
        steps.keep_tensors(f"tuned {candidate.label}", changed)

    if rule is not None:
        decided = deciding_path(
            model, changed, alphas, choosing, protocol, rule, steps, candidate.label
        )
        return Tried(candidate, changed, *decided)

    def verdicts(alpha: float) -> Verdicts:
        (point,) = path(model, changed, [alpha], choosing, protocol, candidate.label)
        return point.verdicts

    points = [
        Point(alpha, steps.verdicts(f"{candidate.label} α={alpha:g}", partial(verdicts, alpha)))
        for alpha in alphas
    ]
    return Tried(candidate, changed, points)


def best_of(start: Point, tried: Sequence[Tried], tolerance: float) -> tuple[Tried | None, Point]:
    """The chosen candidate and its point; (None, start) where nothing meets the rule, which only
    points whose robust accuracy was measured can."""
    best: tuple[Tried | None, Point] = (None, start)
    for one in tried:
        point = choose(start, one.points, tolerance)
        if point.clean > best[1].clean:
            best = (one, point)
    return best


def start_point(model: nn.Module, choosing: Split, protocol: Protocol, steps: Steps) -> Point:
    """alpha = 0, which all candidates share."""
    verdicts = steps.verdicts("start", lambda: judge(model, choosing, protocol, "start"))
    return Point(0.0, verdicts)
