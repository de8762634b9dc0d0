"""hardy export: a network as a file that runs without hardy, and proof that it is the same."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hardy
from hardy import config
from hardy.attacks.search import must_be_finite
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.agreement import agreement, agreements
from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.evaluation.robustness import Protocol, adversarial
from hardy.files import written_whole
from hardy.models.exported import FORMATS, program_of, texts
from hardy.models.load import Checkpoint
from hardy.modes import without_tf32
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.asked.inputs import DATA_SEED, attack_of, checkpoint_of, data_of, device_of, placed
from hardy.verbs.runs.folder import RunFolder, finish

# Rounding alone gives 1e-7 to 1e-5; a layer that is missing or wrong gives 1e-2 and more.
TOLERANCE = 1e-3

Pictures = dict[str, tuple[Tensor, Tensor]]  # what they are: pixels and the network's logits


def run(asked: config.Export) -> Results:
    """Export as asked; the results, with the run folder, and the files in it, in `.folder`.

    Each file is read again from disk and must give the network's logits, to `TOLERANCE` of
    their spread, on clean and on attacked pictures, one by one and all at once. Raises
    ValueError where it does not, and then keeps no file.
    """
    check(asked)
    formats = dict.fromkeys(asked.format)
    if not formats:
        raise ValueError(f"--format needs at least one: {', '.join(FORMATS)}")
    for name in formats:
        FORMATS[name].must_be_installed()
    device = device_of(asked.device)
    attack = attack_of(asked)
    data = data_of(asked)
    net = checkpoint_of(_source(asked), data, torch.device("cpu"))
    few = limited(limited(data.test, asked.limit, DATA_SEED), asked.check_pictures, DATA_SEED)
    program = program_of(net.model, (data.in_channels, data.image_size, data.image_size))
    about = _about(asked, net, data)

    folder = RunFolder("export", asked)
    results = folder.results()
    results.facts |= {
        "model": net.architecture.title,
        "data": data.name,
        "threat": repr(attack.threat),
        "tolerance": TOLERANCE,
    }
    results.notes += net.notes
    protocol = Protocol(attack, 1, asked.seed, asked.precision, 2 * asked.batch_size)
    pictures = _pictures(placed(net.model, device), few.to(device), protocol)
    paths = {name: folder.path / FORMATS[name].file for name in formats}
    with ExitStack() as stack:  # all files or none
        for name, path in paths.items():
            part = stack.enter_context(written_whole(path))
            FORMATS[name].write(part, program, about)
            results.measurements.append(_size(name, part, path.name, few))
            results.measurements += _checked(
                name, part, path.name, about, pictures, few.name, protocol
            )
    for path in paths.values():
        results.add_artifact(path, "network")
    return finish(results)


export = keywords(config.Export, run)


def _source(asked: config.Export) -> config.FromCheckpoint:
    if asked.network is not None and asked.checkpoint is not None:
        raise ValueError("give a network by its position or by --checkpoint, not both")
    path = asked.checkpoint if asked.network is None else asked.network
    if path is None and not isinstance(asked.model, nn.Module):
        raise ValueError("nothing to export: give a run folder or a checkpoint")
    return config.FromCheckpoint(
        checkpoint=path,
        model=asked.model,
        normalize=asked.normalize,
        input_size=asked.input_size,
    )


def _about(asked: config.Export, net: Checkpoint, data: DataSet) -> dict[str, Any]:
    """What a file says of itself."""
    shape = f"{data.in_channels}, {data.image_size}, {data.image_size}"
    return {
        "hardy": hardy.__version__,
        "model": net.architecture.title,
        "data": data.name,
        "classes": list(net.classes or data.classes),
        "pixels": f"float32 (B, {shape}) in [0, 1]; normalisation is inside",
        "logits": f"float32 (B, {data.num_classes})",
        "norm": asked.norm,
        "eps": attack_of(asked).threat.eps,
    }


def _pictures(model: nn.Module, few: Split, protocol: Protocol) -> Pictures:
    """Clean and attacked pictures with the network's logits, (N, K), all at once; on the CPU,
    where files are run."""
    found = {"clean": few.pixels(slice(None)), "attacked": adversarial(model, few, protocol)}
    with torch.no_grad(), without_tf32():
        told = {kind: (x.cpu(), model(x).cpu()) for kind, x in found.items()}
    for _, logits in told.values():
        must_be_finite(logits)
    return told


def _checked(
    name: str,
    part: Path,
    file: str,
    about: Mapping[str, Any],
    pictures: Pictures,
    split: str,
    protocol: Protocol,
) -> list[Measurement]:
    """Hold a file against the network; raises ValueError where they differ."""
    forward, said = FORMATS[name].read(part)
    assert said == texts(about), "a file says of itself what it was told to"
    found: list[Measurement] = []
    for kind, (x, logits) in pictures.items():
        against: dict[str, Scalar] = {} if kind == "clean" else protocol.setting
        for batch in dict.fromkeys((1, len(x))):
            where = f"{file}, {kind} pictures in batches of {batch}"
            try:
                one = agreement(logits, forward, x, batch)
            except Exception as error:  # a runtime's own kinds
                raise ValueError(f"{where}: it does not run ({error}); nothing is kept") from error
            if not one.within(TOLERANCE):
                raise ValueError(
                    f"{where}: its logits differ from the network's by {one.difference:.3g}, "
                    f"{one.relative:.3g} of their spread, where {TOLERANCE:g} is allowed; nothing "
                    "is kept. A network that draws random numbers, or whose forward depends on "
                    "what else is in the batch, cannot be exported"
                )
            setting = {"format": name, "pictures": kind, "batch": batch, **against}
            found += agreements(one, split, file, setting)
    return found


def _size(name: str, part: Path, file: str, few: Split) -> Measurement:
    size, counted = part.stat().st_size, "bytes, counted"
    setting: dict[str, Scalar] = {"format": name}
    return Measurement(
        "file size", size, few.name, len(few), file, no_interval=counted, setting=setting
    )
