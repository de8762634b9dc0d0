"""What targets made of surrogates' adversarial examples, counted: cells, comparisons, the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.statistics import mcnemar, paired, wilson

SUCCESS = "transfer success"
UNSEEN = -1  # said of a picture of which a surrogate has no example, as it gets it wrong


@dataclass(frozen=True)
class Cell:
    """What one surrogate's adversarial examples do to one target: of n pictures that both
    classify rightly, `fooled` of the target. Untargeted they are taken for another class,
    targeted for the class aimed at."""

    surrogate: str
    target: str
    n: int
    fooled: int

    @property
    def success(self) -> float:
        """The share that is fooled, a fraction; NaN where there is no such picture."""
        return self.fooled / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval (Wilson); all of [0, 1] where there is no such picture."""
        return wilson(self.fooled, self.n) if self.n else (0.0, 1.0)

    def measurement(
        self, split: str, setting: Mapping[str, Scalar], quantity: str = SUCCESS
    ) -> Measurement:
        """As a measurement of the target. setting: of the attack. It needs a picture."""
        about = {"surrogate": self.surrogate, **setting}
        return Measurement(
            quantity, self.success, split, self.n, self.target, self.interval, setting=about
        )


@dataclass(frozen=True)
class Comparison:
    """Two surrogates on one target, on the n pictures that all three classify rightly: `gained`
    fool it only by way of `surrogate`, `lost` only by way of `other`."""

    surrogate: str
    other: str
    target: str
    n: int
    gained: int
    lost: int

    @property
    def gain(self) -> float:
        """The success by way of `surrogate` less that of `other`, a fraction; NaN where there is
        no such picture."""
        return (self.gained - self.lost) / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its paired 95 % interval; all of [-1, 1] where there is no such picture."""
        return paired(self.gained, self.lost, self.n) if self.n else (-1.0, 1.0)

    @property
    def p(self) -> float:
        """McNemar's exact p."""
        return mcnemar(self.gained, self.lost)

    def measurement(self, split: str, setting: Mapping[str, Scalar]) -> Measurement:
        """As a measurement of the target. setting: of the attack. It needs a picture."""
        about = {"surrogate": self.surrogate, "other": self.other, **setting}
        about |= {"gained": self.gained, "lost": self.lost, "p": self.p}
        quantity = f"{SUCCESS} gain"
        return Measurement(
            quantity, self.gain, split, self.n, self.target, self.interval, setting=about
        )


@dataclass(frozen=True)
class Transfer:
    """What every target makes of every surrogate's examples; of the N pictures of a split, on the
    CPU.

    labels: int64 (N,). surrogates, targets: by name, who classifies which picture rightly, bool
    (N,). attacked: the class that a target says of a surrogate's example, int64 (N,), by
    (surrogate, target). aims: the classes aimed at, int64 (N,), None where untargeted. setting: of
    the attack, what a measurement must say of it.
    """

    labels: Tensor
    surrogates: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    attacked: Mapping[tuple[str, str], Tensor]
    aims: Tensor | None = None
    setting: Mapping[str, Scalar] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """The matrix, surrogate by surrogate."""
        return [self.cell(*names) for names in self.attacked]

    def cell(self, surrogate: str, target: str) -> Cell:
        """One cell of the matrix."""
        fooled = self._fooled(surrogate, target)[self._common(target, surrogate)]
        return Cell(surrogate, target, len(fooled), int(fooled.sum()))

    def compared(self, surrogate: str, other: str, target: str) -> Comparison:
        """Two surrogates on one target."""
        common = self._common(target, surrogate, other)
        one, two = (self._fooled(name, target)[common] for name in (surrogate, other))
        gained, lost = int((one & ~two).sum()), int((two & ~one).sum())
        return Comparison(surrogate, other, target, len(one), gained, lost)

    def on_common(self, target: str) -> list[Cell]:
        """The cells of one target, but for that of itself, each on the pictures that the target
        and all of these surrogates classify rightly: so they can be ranked."""
        names = [name for name in self.surrogates if name != target]
        common = self._common(target, *names)
        n = int(common.sum())
        return [
            Cell(name, target, n, int(self._fooled(name, target)[common].sum())) for name in names
        ]

    def _common(self, target: str, *surrogates: str) -> Tensor:
        common = self.targets[target]
        for name in surrogates:
            common = common & self.surrogates[name]
        return common

    def _fooled(self, surrogate: str, target: str) -> Tensor:
        said = self.attacked[surrogate, target]
        return said != self.labels if self.aims is None else said == self.aims
