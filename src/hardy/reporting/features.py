"""Sets of features: how they were made, and what networks make of them."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.wording import count, percent, plain

MADE = (
    "targets reached",
    "label accuracy",
    "feature distance",
    "distance moved",
    "rounding distance",
)
TITLE = "The set"

Rows = list[list[str]]


def features_table(results: Results) -> Rows:
    """A row for each thing that was measured of a set while it was made; empty where none was."""
    rows = [["measured", "network", "pictures", "value"]]
    for m in results.measurements:
        if m.quantity in MADE:
            rows.append([_measured(m), m.subject or "–", count(m.n), _value(m)])
    return rows if len(rows) > 1 else []


def features_caption(results: Results) -> str:
    """What the rows mean."""
    inverted = next(results.select("feature distance"), None) is not None
    features = (
        "Feature distance: Euclidean, between the features of a picture and those it is to have. "
    )
    return (
        "Shares in percent, distances in l2 (pixels from 0 to 1), means over the pictures with "
        f"95 % intervals. {features if inverted else ''}Stored: after the pictures were rounded "
        "to the type of the file, which is what is trained on."
    )


def of_set(results: Results) -> str:
    """The outcome in a sentence."""
    reached = next(results.select("targets reached"), None)
    after = next(results.select("feature distance", at="after"), None)
    before = next(results.select("feature distance", at="before"), None)
    moved = results.one("distance moved")
    parts = []
    if before is not None and after is not None:
        parts.append(f"features are at {_times(after, before)} of the distance they began at")
    if reached is not None:
        parts.append(
            f"the network takes {percent(reached)} % of the pictures for the class they were "
            f"attacked to, {plain(moved)} from where they were in l2"
        )
    return f"A set of {count(moved.n)} pictures, {results.facts.get('set')}: {'; '.join(parts)}."


def about_features(results: Results) -> tuple[str, str, str]:
    """Title, caption and words for the figure of the first pictures."""
    other = " The other picture is where inversion began." if "inversion" in results.facts else ""
    return (
        "The first pictures of the set",
        "Not selected ones. Above each original its class; below what is in the set, what the "
        f"network takes it for: ✓ where that is its label there, ✗ where it is not.{other}",
        "Originals, the stages of their making and the pictures of the set, with the classes that "
        "the network gave them.",
    )


def _measured(m: Measurement) -> str:
    stored = m.setting.get("stored as")
    if m.quantity == "label accuracy":
        return f"accuracy under the labels of {m.setting.get('labels')}, stored ({stored})"
    if m.quantity == "targets reached":
        return f"targets reached, {stored if stored == 'not rounded' else f'stored ({stored})'}"
    if m.quantity == "feature distance":
        return f"feature distance {m.setting.get('at')} inversion"
    if m.quantity == "distance moved":
        return f"distance moved from {m.setting.get('from')}"
    return f"distance moved by rounding to {stored}"


def _value(m: Measurement) -> str:
    return percent(m) + " %" if m.quantity in MADE[:2] else plain(m)


def _times(after: Measurement, before: Measurement) -> str:
    return f"{100 * after.value / before.value:.3g} %" if before.value else "all"
