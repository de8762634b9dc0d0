from __future__ import annotations

import pytest
import torch

from hardy.data import Batch, Mix, Split, batch_count, batches
from hardy.data.splits import shuffled

OWN = 20


@pytest.fixture
def both(split: Split) -> Split:
    """The twenty rows of `split` (index 100 to 119) and seven extra ones (index 200 to 206)."""
    images = torch.cat([split.images, split.images[:7] + 50])
    labels = torch.cat([split.labels, split.labels[:7]])
    return Split(images, labels, torch.cat([split.index, torch.arange(200, 207)]), "train")


def indices(found) -> list[list[int]]:
    return [batch.index.tolist() for batch in found]


@pytest.mark.parametrize(("epoch", "drop"), [(0, False), (3, False), (3, True)])
def test_without_mix_and_part_the_order_is_the_documented_one(split: Split, epoch, drop):
    order = (shuffled(20, 7, epoch, "order") + 100).tolist()
    expected = [order[:6], order[6:12], order[12:18]] + ([] if drop else [order[18:]])
    found = batches(split, 6, seed=7, epoch=epoch, shuffle=True, drop_last=drop)
    assert indices(found) == expected


def test_the_recorded_order_of_a_seed_does_not_change(split: Split):
    # What version 0.1.0 gave, before there were mixes and parts.
    (batch,) = batches(split.take(slice(0, 8)), 8, seed=0, shuffle=True)
    assert (batch.index - 100).tolist() == [6, 0, 7, 4, 1, 5, 3, 2]


def test_a_mixed_batch_holds_its_shares_from_two_permutations(both: Split):
    mix = Mix(OWN, 0.25)
    found = indices(batches(both, 8, seed=1, epoch=2, shuffle=True, drop_last=True, mix=mix))
    own = (shuffled(20, 1, 2, "order") + 100).tolist()
    extra = (shuffled(7, 1, 2, "order/extra") + 200).tolist()
    assert found == [
        [*own[0:3], extra[0], *own[3:6], extra[1]],
        [*own[6:9], extra[2], *own[9:12], extra[3]],
    ]


def test_a_mixed_pass_has_the_batches_of_the_own_rows_all_whole(both: Split):
    for size, drop, expected in [(8, True, 2), (8, False, 3), (5, True, 4), (5, False, 4)]:
        mix = Mix(OWN, 0.4)
        assert batch_count(both, size, drop, mix=mix) == expected
        found = list(batches(both, size, seed=0, shuffle=True, drop_last=drop, mix=mix))
        assert [len(batch) for batch in found] == [size] * expected


def test_own_rows_come_at_most_once_and_in_another_order_each_epoch(both: Split):
    passes = [
        [
            i
            for batch in indices(
                batches(both, 5, seed=0, epoch=epoch, shuffle=True, mix=Mix(20, 0.2))
            )
            for i in batch
            if i < 200
        ]
        for epoch in (0, 1, 0)
    ]
    assert len(set(passes[0])) == len(passes[0]) == 16
    assert passes[0] == passes[2] != passes[1]


def test_extra_rows_that_are_too_few_begin_a_fresh_permutation(both: Split):
    found = indices(batches(both, 8, seed=4, shuffle=True, mix=Mix(OWN, 0.75)))
    extra = [i for batch in found for i in batch if i >= 200]
    rounds = [
        (shuffled(7, 4, 0, stream) + 200).tolist()
        for stream in ("order/extra", "order/extra/1", "order/extra/2")
    ]
    assert extra == [*rounds[0], *rounds[1], *rounds[2]][:18]
    assert rounds[0] != rounds[1] != rounds[2]


def test_own_rows_fewer_than_a_batch_needs_are_cycled_too(both: Split):
    few = both.take(torch.tensor([0, 1, 2, 20, 21]))
    (batch,) = indices(batches(few, 8, seed=0, shuffle=True, drop_last=True, mix=Mix(3, 0.5)))
    own = [i for i in batch if i < 200]
    assert sorted(own[:3]) == [100, 101, 102]
    assert len(own) == 4


def test_without_shuffling_a_mix_goes_through_both_in_order(both: Split):
    found = indices(batches(both, 4, seed=0, drop_last=True, mix=Mix(OWN, 0.5)))
    assert found[0] == [100, 200, 101, 201]
    assert found[3] == [106, 206, 107, 200]
    assert len(found) == 5


@pytest.mark.parametrize("size", [4, 12, 60])
def test_every_window_of_a_batch_has_the_mix_to_within_one_row(size: int):
    rows = 2 * size
    split = Split(torch.zeros(rows, 1, 1, 1), torch.zeros(rows), torch.arange(rows), "train")
    for count in range(1, size):
        mix = Mix(size, count / size)
        (batch,) = batches(split, size, seed=0, shuffle=True, mix=mix)
        extra = (batch.index >= size).long()
        assert extra.sum() == count
        for length in range(1, size + 1):
            share = extra.unfold(0, length, 1).sum(1)
            assert share.min() >= length * count // size
            assert share.max() <= -(-length * count // size)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_the_parts_together_are_the_batch_of_one_process(both: Split, world: int, mixed: bool):
    arguments = {"seed": 2, "epoch": 1, "shuffle": True, "drop_last": True}
    mix = Mix(OWN, 0.5) if mixed else None
    whole = list(batches(both, 6, mix=mix, **arguments))
    parts = [
        list(batches(both, 6, mix=mix, part=(rank, world), **arguments)) for rank in range(world)
    ]
    assert len(whole) == batch_count(both, 6, True, mix=mix, part=(0, world))
    for batch, *pieces in zip(whole, *parts, strict=True):
        assert {len(piece) for piece in pieces} == {6 // world}
        for name in ("x", "y", "index"):
            assert torch.equal(
                torch.cat([getattr(each, name) for each in pieces]), getattr(batch, name)
            )
        drawn = torch.cat([each.draws.uniform((2,), "s") for each in pieces])
        assert torch.equal(drawn, batch.draws.uniform((2,), "s"))


@pytest.mark.parametrize(
    ("rows", "size", "world", "expected"),
    [
        (20, 8, 2, [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17]]),
        (20, 6, 3, [[0, 1], [6, 7], [12, 13]]),  # two rows are left, too few for three
        (5, 8, 4, [[0]]),
        (7, 8, 2, [[0, 1, 2]]),
    ],
)
def test_a_last_batch_is_cut_equally(split: Split, rows, size, world, expected):
    part = split.take(slice(0, rows))
    found = indices(batches(part, size, seed=0, part=(0, world)))
    assert [[i - 100 for i in batch] for batch in found] == expected
    assert batch_count(part, size, part=(0, world)) == len(expected)
    lengths = {
        tuple(len(batch) for batch in batches(part, size, seed=0, part=(rank, world)))
        for rank in range(world)
    }
    assert len(lengths) == 1


def test_less_than_one_batch_is_shared_even_with_drop_last(split: Split):
    part = split.take(slice(0, 7))
    found = [indices(batches(part, 8, seed=0, drop_last=True, part=(rank, 2))) for rank in range(2)]
    assert found == [[[100, 101, 102]], [[103, 104, 105]]]


def test_a_slice_of_a_batch_keeps_its_draws_and_shares_its_memory(split: Split):
    batch: Batch = next(batches(split, 8, seed=0))
    part = batch.take(slice(2, 5))
    assert part.index.tolist() == [102, 103, 104]
    assert part.x.data_ptr() == batch.x[2:].data_ptr()
    assert torch.equal(part.y, batch.y[2:5])
    assert torch.equal(part.draws.uniform((3,), "s"), batch.draws.uniform((3,), "s")[2:5])


@pytest.mark.parametrize(
    ("size", "arguments", "message"),
    [
        (6, {"part": (0, 4)}, "batches of 6 .* by 4 processes: make --batch-size a multiple of 4"),
        (6, {"part": (2, 2)}, r"0 <= rank < world, not \(2, 2\)"),
        (6, {"part": (-1, 2)}, r"0 <= rank < world, not \(-1, 2\)"),
        (30, {"part": (0, 30)}, "27 pictures cannot be shared by 30 processes: start fewer"),
        (3, {"mix": Mix(20, 0.1)}, "--extra-fraction 0.1 makes 0 of a batch of 3 extra"),
        (3, {"mix": Mix(20, 0.9)}, "--extra-fraction 0.9 makes 3 of a batch of 3 extra"),
        (6, {"mix": Mix(27, 0.5)}, "27 of 27 pictures are the set's own: join extra ones"),
        (0, {"mix": Mix(20, 0.5)}, "--batch-size must be at least 1"),
    ],
)
def test_what_cannot_be_cut_or_mixed_is_refused_at_once(both: Split, size, arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(both, size, seed=0, **arguments)
    with pytest.raises(ValueError, match=message):
        batch_count(both, size, **arguments)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_mix_needs_a_share_between_nothing_and_all(fraction: float):
    with pytest.raises(ValueError, match="--extra-fraction must lie between 0 and 1"):
        Mix(5, fraction)


def test_a_mix_needs_own_rows():
    with pytest.raises(ValueError, match="pictures of the set's own, not 0"):
        Mix(0, 0.5)
