"""From a checkpoint to the start of a run on other classes: a new classifier layer, and which
weights were taken and which are new."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from hardy import config
from hardy.data.splits import DataSet
from hardy.models.heads import head_of, named_head, new_head
from hardy.models.load import Checkpoint
from hardy.verbs.asked.inputs import logits_of_one, must_run, must_take_channels


def classifier(asked: config.Train, model: nn.Module, data: DataSet) -> str:
    """The name of the classifier layer: that of --head, or the one that makes the logits of a
    picture. Raises ValueError where there is none of that name, or not exactly one."""
    if asked.head is not None:
        return named_head(model, asked.head)
    return head_of(model, data.train.pixels(slice(0, 1)).cpu())


def must_be_consistent(asked: config.Train, data: DataSet) -> None:
    """Raises ValueError where --num-classes and --head are not what can be done with the data."""
    if isinstance(asked.num_classes, str) and asked.num_classes != "auto":
        raise ValueError(f"--num-classes must be auto or a number, not {asked.num_classes!r}")
    if asked.num_classes not in (None, "auto", data.num_classes):
        raise ValueError(
            f"--num-classes {asked.num_classes}: {data.name} has {data.num_classes} classes, give "
            f"auto or {data.num_classes}"
        )
    # A library makes the layer of its published weights anew by itself, and a new network has none.
    given = asked.checkpoint is not None or isinstance(asked.model, nn.Module)
    used = asked.probe_epochs or (given and asked.num_classes is not None)
    if asked.head is not None and not used:
        raise ValueError(
            "--head names the layer that --num-classes makes anew in a --checkpoint or that "
            "--probe-epochs trains: give one of them too, or leave it out"
        )


def transferred(asked: config.Train, found: Checkpoint, data: DataSet) -> Checkpoint:
    """The network of a checkpoint, on the CPU, with the classifier layer that --num-classes asks
    for: a new one in any case for a number, and for 'auto' where its classes differ from the
    data's in number, or by name where they have names. Unset: as it is.

    The new layer is drawn from --seed. Its notes say, and `extra['transfer']` keeps, how many
    entries of the state dict were taken and which are new. Raises ValueError where the layer
    cannot be found or where the network does not run with a new one.
    """
    if asked.num_classes is None:
        return found
    must_take_channels(found, data)
    spec, handed_in = found.architecture, asked.checkpoint is None
    classes = logits_of_one(found.model, spec.model, data).shape[-1]
    named = None if handed_in else found.classes
    if asked.num_classes == "auto" and classes == data.num_classes:
        same = "they are those of the data"
        if named is None:
            same = f"as many as the data has; --num-classes {classes} makes it anew"
        if named in (None, data.classes):
            kept = f"the classifier layer was kept, with its {classes} classes: {same}"
            return replace(found, notes=[*found.notes, kept])
    layer = classifier(asked, found.model, data)
    new = new_head(found.model, layer, data.num_classes, asked.seed)
    try:
        must_run(found.model, spec.model, data)
    except ValueError as error:
        raise ValueError(
            f"with a new layer {layer} the network does not give {data.num_classes} logits: --head "
            f"must name the layer that makes them all, and no other may be made for its {classes} "
            "classes"
        ) from error
    whom = "the network that was handed in" if handed_in else "the checkpoint"
    return reported(found, new, whom, classes, data)


def reported(
    found: Checkpoint, new: list[str], whom: str, classes: int, data: DataSet
) -> Checkpoint:
    """A network whose classifier layer was made anew for the data, with what is to be said and
    kept of that. new: its entries in the state dict; whom: the rest was taken from; classes: of
    the layer before, 0 where there was none."""
    spec = found.architecture
    # Counters are left out: a file may lack them, and nothing is computed from them.
    entries = [key for key in found.model.state_dict() if not key.endswith("num_batches_tracked")]
    taken = len(entries) - len(new)
    change = f"{classes} → {data.num_classes}" if classes else f"there was none; {data.num_classes}"
    sentence = (
        f"taken from {whom}: {taken} of {len(entries)} tensors; new: {', '.join(new)} "
        f"({change} classes)"
    )
    about = {"taken": taken, "new": new, "classes": [classes, data.num_classes]}
    if "data" in found.extra:
        about["from"] = found.extra["data"]
    return replace(
        found,
        architecture=replace(spec, num_classes=data.num_classes),
        classes=data.classes,
        extra={**found.extra, "transfer": about},
        notes=[*found.notes, sentence],
    )
