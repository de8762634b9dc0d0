"""On which pictures rift chooses, and on which it reports."""

from __future__ import annotations

from hardy import config
from hardy.data.splits import DataSet, Split, halves, limited
from hardy.models.load import Checkpoint
from hardy.verbs.asked.inputs import DATA_SEED, unseen_val


def where_to_choose(asked: config.Rift, net: Checkpoint, data: DataSet) -> tuple[Split, Split, str]:
    """The split to choose on, the split to report, and a sentence that says so.

    val is clean only for a network that this project trained on the same pictures with the
    same cut; any other has seen it, and then test is halved.
    """
    on = asked.choose_on
    if on == "auto":
        on = "val" if unseen_val(net, data) else "half"
    if on == "val":
        choosing, reported = data.val, data.test
        how = "The module, learning rate and α were chosen on val; test was read once, at the end."
    elif on == "half":
        choosing, reported = halves(data.test, DATA_SEED)
        who = "This network comes from elsewhere and has"
        if net.ours:
            who = "What this network was trained from may have"
        how = (
            f"{who} seen all of train, so no validation pictures are left: one seeded half of "
            "test was used to choose, the other half is reported."
        )
    else:
        choosing = reported = data.test
        how = (
            "The choice was made on the very test pictures that are reported, as the authors' "
            "code does: the gain is flattered."
        )
    return (
        limited(choosing, asked.choose_pictures, DATA_SEED),
        limited(reported, asked.test_limit, DATA_SEED),
        how,
    )
