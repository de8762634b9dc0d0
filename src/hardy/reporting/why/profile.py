"""What hardy why measured of a network and of its baseline, one number at a time, and in which
direction the two differ beyond chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hardy.evaluation.results import Measurement, Results, Scalar, is_difference
from hardy.reporting.findings import of_networks
from hardy.reporting.wording import interval_of, number, plain

FAMILIES = ("noise", "blur", "weather", "digital")
OF_ALL = "standard 15"
CORRUPTED = "mean corruption accuracy"
TRANSFER = "transfer success"
NOTABLE = 0.02  # a difference of LIGS: of less no difference in robustness is made


@dataclass(frozen=True)
class Sentence:
    """A sentence of the page and the ids, there, of what it rests on; at least one."""

    text: str
    anchors: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """The numbers of a network beside those of a baseline, whose name is empty where there is
    none; `clean` and `robust` are the network's own accuracies."""

    results: Results
    network: str
    baseline: str
    clean: Measurement
    robust: Measurement

    def of(
        self, quantity: str, subject: str | None = None, **setting: Scalar
    ) -> Measurement | None:
        """The first measurement of a quantity of the network, or of another subject."""
        wanted = {"subject": self.network if subject is None else subject, **setting}
        return next(self.results.select(quantity, **wanted), None)

    def gain(self, quantity: str, **setting: Scalar) -> Measurement | None:
        """By how much the network is above the baseline, paired by picture."""
        if not self.baseline:
            return None
        return self.of(f"{quantity} gain", f"{self.network} − {self.baseline}", **setting)

    def side(self, quantity: str, **setting: Scalar) -> int | None:
        """1 where the network is above the baseline beyond chance, −1 where below, else 0, as
        `side` of the difference; None where that was not measured."""
        gain = self.gain(quantity, **setting)
        return None if gain is None else side(gain)

    def doubted(self, subject: str) -> bool:
        """Whether a check forbids to believe a network's robust accuracy; a finding without a
        subject is of all networks."""
        found = {
            name for grade in ("serious", "fatal") for name in of_networks(self.results, grade)
        }
        return bool(found & {subject, ""})

    @property
    def believed(self) -> bool:
        """Whether the robust accuracies of both may be compared, or its own where it is alone."""
        return not any(map(self.doubted, filter(None, (self.network, self.baseline))))

    def said(self, text: str, *rests_on: Measurement | str | None) -> Sentence:
        """A sentence that rests on measurements, or on other parts of the page by their ids."""
        ids = [one if isinstance(one, str) else self.anchor(one) for one in rests_on if one]
        assert ids, "no sentence without a number"
        return Sentence(text, tuple(dict.fromkeys(ids)))

    def anchor(self, m: Measurement) -> str:
        """The id of a measurement on the page: its place in results.json, from 1."""
        return f"number-{self.results.measurements.index(m) + 1}"


def profile(results: Results) -> Profile | None:
    """What a page of hardy why is told from; None for other runs, and for means over seeds."""
    network, baseline = (str(results.facts.get(name) or "") for name in ("network", "baseline"))
    clean, robust = (
        next(results.select(f"{kind} accuracy", subject=network), None)
        for kind in ("clean", "robust")
    )
    if results.verb != "why" or clean is None or robust is None:
        return None
    return Profile(results, network, baseline, clean, robust)


def side(gain: Measurement) -> int:
    """1 or −1 where the interval of a difference lies above or below 0, else 0; of LIGS above
    NOTABLE or below −NOTABLE, as its intervals are narrow."""
    if gain.interval is None:
        return 0
    (low, high), least = gain.interval, NOTABLE if gain.quantity == "ligs gain" else 0
    return int(low > least) - int(high < -least)


def above(one: Measurement, other: Measurement, by: float = 0.0) -> bool:
    """Whether a number is above another by so much, whichever ends of both intervals hold."""
    if one.interval is None or other.interval is None:
        return False
    return one.interval[0] > other.interval[1] + by


def share_at_least(robust: Measurement, clean: Measurement, least: float) -> bool:
    """Whether robust accuracy is at least that share of the clean one, over both intervals."""
    ends = robust.interval, clean.interval
    return ends[0] is not None and ends[1] is not None and ends[0][0] >= least * ends[1][1]


def amount(gain: Measurement) -> str:
    """A difference without its sign, its interval turned with it: '2.10 points [0.4, 3.8]', and
    of cosines '0.21 [0.19, 0.23]'."""
    turned = gain
    if gain.value < 0:
        ends = None if gain.interval is None else (-gain.interval[1], -gain.interval[0])
        turned = replace(gain, value=-gain.value, interval=ends)
    if is_difference(gain.quantity):
        return f"{number(100 * turned.value)} points{interval_of(turned)}"
    return plain(turned)


def signed(gain: Measurement) -> str:
    """A difference with its sign: '+2.10 points [0.4, 3.8]'."""
    if not is_difference(gain.quantity):
        return ("+" if gain.value > 0 else "") + plain(gain)
    return f"{number(100 * gain.value, signed=True)} points{interval_of(gain)}"
