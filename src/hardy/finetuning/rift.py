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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from torch import Tensor, nn

from hardy.data.augment import Augment
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts, adversarial, judge
from hardy.evaluation.steps import Steps
from hardy.finetuning.interpolate import Point, choose, path
from hardy.finetuning.mrc import Ascent, Criticality, OfficialAscent, candidates, mrc
from hardy.finetuning.tune import Candidate, tune
from hardy.training.engine import Engine
from hardy.training.loop import Settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tried:
    """A candidate, the entries of the state dict that it changed, and its points."""

    candidate: Candidate
    changed: dict[str, Tensor]
    points: list[Point]


def criticalities(
    model: nn.Module,
    split: Split,
    protocol: Protocol,
    *,
    ascent: Ascent | OfficialAscent,
    modules: Sequence[str] | None = None,
    steps: Steps | None = None,
    say: Say = lambda _: None,
    note: Say = lambda _: None,
) -> Iterator[Criticality]:
    """Step 1: the criticality of every module on the adversarial examples of a split, those
    already kept in `steps` first. protocol: how the examples are made, and the precision and
    batches of the ascent."""
    steps = steps or Steps()
    kept = steps.json("mrc") or []
    found = [Criticality(**{**one, "interval": tuple(one["interval"])}) for one in kept]
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
        adversarial(model, split, protocol),
        split.labels,
        modules=modules,
        done=done,
        ascent=ascent,
        precision=protocol.precision,
        batch_size=protocol.batch_size,
        note=keep_note,
    ):
        kept.append(asdict(one))
        steps.keep_json("mrc", kept)
        say(
            f"{one.module}: MRC {one.mrc:.4f}, robust accuracy {-100 * one.robust_drop:+.2f} points"
        )
        yield one


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
) -> Tried:
    """Steps 2 and 3 for one candidate: tune it, and measure the way there."""
    changed = steps.tensors(f"tuned {candidate.label}")
    if changed is None:
        attack = protocol.attack
        changed = tune(engine, model, candidate, train, augment, settings, attack)
        steps.keep_tensors(f"tuned {candidate.label}", changed)

    def verdicts(alpha: float) -> Verdicts:
        (point,) = path(model, changed, [alpha], choosing, protocol, candidate.label)
        return point.verdicts

    points = [
        Point(alpha, steps.verdicts(f"{candidate.label} α={alpha:g}", partial(verdicts, alpha)))
        for alpha in alphas
    ]
    return Tried(candidate, changed, points)


def best_of(start: Point, tried: Sequence[Tried], tolerance: float) -> tuple[Tried | None, Point]:
    """The chosen candidate and its point; (None, start) where nothing meets the rule."""
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
