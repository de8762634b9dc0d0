"""What each network of an evaluation costs in use."""

from __future__ import annotations

from dataclasses import asdict

from hardy.console import say
from hardy.evaluation.footprint import latencies, sizes
from hardy.evaluation.results import Measurement
from hardy.evaluation.steps import Steps
from hardy.verbs.evaluating.measuring import Job


def footprints(job: Job, steps: Steps) -> list[Measurement]:
    """Size and F of each network, and its latency where that was asked for: measured once and
    kept in `steps`, for a time is not the same twice."""
    split, found = job.test, []
    pictures = split.pixels(slice(0, job.batch_size))
    for number, (label, net) in enumerate(job.nets.items()):
        found += sizes(net.model, pictures[:1], split.name, label)
        if not job.asked.latency:
            continue
        kept = steps.json(f"{number} latency")
        if kept is None:
            say(f"{label}: time of a forward pass")
            kept = [asdict(one) for one in latencies(net.model, pictures, split.name, label)]
            steps.keep_json(f"{number} latency", kept)
        found += [Measurement.of(each) for each in kept]
    return found
