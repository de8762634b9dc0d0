"""Whether what fools one network fools another: surrogates x targets.

    >>> found = transfer(surrogates, targets, data.test, PGD(Linf(8 / 255)))
    >>> for cell in found.cells():
    ...     print(cell.surrogate, cell.target, cell.success, cell.interval, cell.n)

An adversarial example is made on the surrogate alone and shown to the target: the last iterate,
also where it does not fool the surrogate itself. Counted are the pictures that both classify
rightly, so n is another in each cell. A network that is its own surrogate is attacked as a white
box, once.

Source: Papernot et al., Transferability in machine learning (arXiv 1605.07277); the protocol is
that of Liu et al., Delving into transferable adversarial examples (ICLR 2017; 1611.02770).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardy.attacks.active_set import Kept
from hardy.attacks.mi_fgsm import Iterative
from hardy.attacks.search import must_be_finite
from hardy.console import progress
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.diagnosis.transferred import UNSEEN, Transfer
from hardy.draws import Draws
from hardy.evaluation.robustness import predicted
from hardy.evaluation.steps import Steps
from hardy.memory import Halving
from hardy.modes import evaluating, forward_in, frozen, without_tf32


def transfer(
    surrogates: Mapping[str, nn.Module],
    targets: Mapping[str, nn.Module],
    split: Split,
    attack: Iterative,
    *,
    targeted: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    precision: str = "fp32",
    steps: Steps | None = None,
) -> Transfer:
    """Attack, once, every picture on each surrogate that classifies it rightly, and show what is
    made to all targets, batch by batch. Networks run in eval mode and are left as they were.

    A name that is in both mappings must be one network. targeted: towards a class drawn uniformly
    among the wrong ones by (seed, picture), the same for all surrogates. precision: of the attack;
    what networks say of pictures is in their own. steps: goes on where an earlier call with the
    same arguments was stopped, to the same bits.

    Raises ValueError where the networks do not tell as many classes apart, or give NaN.
    """
    if mixed := [n for n in surrogates if n in targets and surrogates[n] is not targets[n]]:
        raise ValueError(f"{mixed[0]} names a surrogate and another target: give other names")
    steps = steps or Steps()
    nets = list(dict.fromkeys([*surrogates.values(), *targets.values()]))
    with evaluating(*nets), frozen(*nets), without_tf32():
        classes = _classes(nets, split)
        right = {
            net: steps.tensor(f"right {i}", lambda net=net: _right(net, split, batch_size)).bool()
            for i, net in enumerate(nets)
        }
        aims = drawn_aims(split, classes, seed) if targeted else None
        run = _Run(split, attack, aims, seed, batch_size, precision, list(targets.values()))
        attacked = {}
        total = sum(int(right[net].sum()) for net in surrogates.values())
        with progress("transfer", total) as advance:
            for i, (name, net) in enumerate(surrogates.items()):
                said = run.said(net, right[net], steps.slot(f"attacked {i}"), advance)
                attacked |= {(name, target): said[t] for t, target in enumerate(targets)}
    return Transfer(
        split.labels.cpu(),
        {name: right[net] for name, net in surrogates.items()},
        {name: right[net] for name, net in targets.items()},
        attacked,
        None if aims is None else aims.cpu(),
        {**attack.setting, "targeted": targeted, "seed": seed, "dtype": precision},
    )


def drawn_aims(split: Split, classes: int, seed: int) -> Tensor:
    """A wrong class for each picture of a split, int64 (N,), uniform among them and by (seed,
    picture) alone."""
    drawn = Draws(seed, 0, split.index).integers(classes - 1, (), "transfer/aim")
    return drawn + (drawn >= split.labels)


@dataclass(frozen=True)
class _Run:
    """The attack on every surrogate; a finished batch is kept."""

    split: Split
    attack: Iterative
    aims: Tensor | None
    seed: int
    batch_size: int
    precision: str
    targets: Sequence[nn.Module]

    def said(
        self, surrogate: nn.Module, right: Tensor, kept: Kept, advance: Callable[[int], None]
    ) -> Tensor:
        """The classes that the targets say of one surrogate's examples, int64 (targets, N)."""
        state = kept.load() or {
            "said": torch.full((len(self.targets), len(right)), UNSEEN),
            "done": torch.tensor(0),
        }
        said, done = state["said"], int(state["done"])
        advance(done)
        rows = right.nonzero()[:, 0].to(self.split.device)
        forward = forward_in(surrogate, self.split.device, self.precision)
        # The batches of `robustness.judge`, which attacks these rows too: on itself a surrogate
        # is attacked as there, to the bit.
        whole = batches(self.split.take(rows[done:]), self.batch_size, seed=self.seed)

        def classes(batch: Batch) -> Tensor:
            if self.aims is None:
                x_adv = self.attack(forward, batch.x, batch.y, batch.draws)
            else:
                aims = self.aims[rows[done : done + len(batch)]]
                x_adv = self.attack.towards(forward, batch.x, aims, batch.draws)
            return torch.stack([_class_of(target, x_adv).cpu() for target in self.targets])

        for batch, of_targets in Halving()(whole, classes):
            said[:, rows[done : done + len(batch)].cpu()] = of_targets
            done += len(batch)
            kept.save({"said": said, "done": torch.tensor(done)})
            advance(len(batch))
        return said


@torch.no_grad()
def _class_of(net: nn.Module, x: Tensor) -> Tensor:
    logits = net(x)
    must_be_finite(logits)
    return logits.argmax(1)


def _right(net: nn.Module, split: Split, batch_size: int) -> Tensor:
    return (predicted(net, split, batch_size) == split.labels).to(torch.uint8)


def _classes(nets: Sequence[nn.Module], split: Split) -> int:
    """How many classes all of the networks tell apart."""
    with torch.no_grad():
        found = {net(split.pixels(slice(0, 1))).shape[1] for net in nets}
    if len(found) != 1 or max(found) < 2:
        raise ValueError(
            f"the networks tell {' and '.join(map(str, sorted(found)))} classes apart: transfer is "
            "between networks of the same classes, at least two"
        )
    return found.pop()
