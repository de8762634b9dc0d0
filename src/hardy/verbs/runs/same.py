"""Whether a run that goes on works on what it was started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.data.streaming.stream import picture_hashes
from hardy.evaluation.steps import Steps
from hardy.verbs.asked.inputs import fingerprint
from hardy.verbs.runs.folder import RunFolder

if TYPE_CHECKING:
    from hardy.training.engine import Engine

GIVEN = "given"  # under which the steps keep it


def must_be_the_same(
    folder: RunFolder, networks: Mapping[str, nn.Module], pictures: Mapping[str, str]
) -> None:
    """Keep in a run folder what tells these networks, and pictures by their `marks`, from others.

    Raises ValueError where the run to go on with was started with others: the same flags may name
    a file that has changed, and the run's finished steps would be taken for those of the new.
    """
    mine = {f"weights in {name}": fingerprint(weights_of(net)) for name, net in networks.items()}
    mine |= pictures
    steps = folder.steps()
    known = steps.json(GIVEN)
    if known is None:
        steps.keep_json(GIVEN, mine)
        return
    others = [f"other {name}" for name, value in known.items() if mine.get(name, value) != value]
    others += [f"{name}, which is gone" for name in known.keys() - mine.keys()]
    others += [f"no {name}" for name in mine.keys() - known.keys()]
    if others:
        raise ValueError(
            f"the run in {folder.path} was started with {' and '.join(others)}: give the same file "
            "or object, or another --out"
        )


def marks(splits: Mapping[str, Split]) -> dict[str, str]:
    """What tells the pictures of these splits from others, by the splits' names."""
    return {f"{name} pictures": fingerprint(_pictures(split)) for name, split in splits.items()}


def must_agree(engine: Engine, pictures: Mapping[str, str]) -> None:
    """Raises ValueError, in every process of a run, where one has other pictures than the first,
    by their `marks`; a collective call."""
    theirs = engine.from_first(pictures)
    # All hear of it before any ends: none waits for another that is gone.
    differs = [mark != theirs[name] for name, mark in pictures.items()]
    flags = torch.stack(engine.gather(torch.tensor(differs, dtype=torch.uint8))).any(0)
    if odd := [name for name, flag in zip(pictures, flags.tolist(), strict=True) if flag]:
        raise _other_in_a_process(odd)


def must_be_known(steps: Steps, splits: Mapping[str, Split]) -> None:
    """Raises ValueError where these pictures are not those that `must_be_the_same` has kept."""
    known = steps.json(GIVEN)
    if odd := [name for name, mark in marks(splits).items() if known[name] != mark]:
        raise _other_in_a_process(odd)


def _other_in_a_process(names: Iterable[str]) -> ValueError:
    return ValueError(
        f"the processes of this run have different {' and '.join(names)}: a function that gives "
        "data must give the same each time; let it draw from its argument seed"
    )


def _pictures(split: Split) -> dict[str, Tensor]:
    """What tells pictures from others, the same whether they lie in memory or are streamed."""
    return {
        "images": picture_hashes(split.images),
        "shape": torch.tensor(split.images.shape),
        "labels": split.labels,
        "index": split.index,
    }


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """What a network computes with: also the buffers that no file of weights holds."""
    kept = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    return {**dict(model.named_buffers()), **kept}
