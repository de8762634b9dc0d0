from __future__ import annotations

import pytest
import torch

from hardy.data import Augment, Batch, Split, batch_count, batches


def order(split: Split, epoch: int, seed: int = 0) -> list[int]:
    found = batches(split, 6, seed=seed, epoch=epoch, shuffle=True)
    return torch.cat([each.index for each in found]).tolist()


def test_a_pass_covers_everything_once_in_another_order_each_epoch(split: Split):
    first, second = order(split, 0), order(split, 1)
    assert sorted(first) == sorted(second) == list(range(100, 120))
    assert first != second
    assert first != sorted(first)
    assert order(split, 0) == first
    assert order(split, 0, seed=1) != first


def test_batches_hold_matching_pixels_labels_index_and_draws(split: Split):
    for batch in batches(split, 6, seed=3, epoch=2, shuffle=True):
        assert batch.x.shape[1:] == (1, 2, 2)
        assert torch.equal(batch.x[:, 0, 1, 0], (batch.index - 100).float() / 255)
        assert torch.equal(batch.y, batch.index % 2)
        assert torch.equal(batch.draws.index, batch.index)
        assert (batch.draws.seed, batch.draws.epoch) == (3, 2)


def test_without_shuffling_the_order_is_the_split(split: Split):
    sizes = [len(each) for each in batches(split, 8, seed=0)]
    assert sizes == [8, 8, 4]
    first: Batch = next(batches(split, 8, seed=0))
    assert first.index.tolist() == list(range(100, 108))


@pytest.mark.parametrize(
    ("size", "drop", "expected"), [(6, False, 4), (6, True, 3), (5, True, 4), (30, True, 1)]
)
def test_the_last_part_is_dropped_unless_it_is_all(split: Split, size, drop, expected):
    assert batch_count(split, size, drop) == expected
    found = list(batches(split, size, seed=0, drop_last=drop))
    assert len(found) == expected
    assert len(found[0]) == min(size, 20)


def test_an_empty_split_has_no_batches(split: Split):
    empty = split.take(slice(0, 0))
    assert batch_count(empty, 4) == 0
    assert list(batches(empty, 4, seed=0)) == []


def test_augmentation_belongs_to_the_example_not_to_the_batch(split: Split):
    split.images[:] = torch.arange(4, dtype=torch.uint8).view(2, 2)
    small, large = (
        torch.cat([each.x for each in batches(split, size, seed=5, augment=Augment(1))])
        for size in (3, 20)
    )
    assert torch.equal(small, large)
    plain = torch.cat([each.x for each in batches(split, 20, seed=5)])
    assert not torch.equal(small, plain)


def test_rows_of_a_batch_keep_their_draws(split: Split):
    batch = next(batches(split, 8, seed=0))
    rows = torch.tensor([5, 1])
    part = batch.take(rows)
    assert part.index.tolist() == [105, 101]
    assert torch.equal(part.x, batch.x[rows])
    assert torch.equal(part.draws.uniform((3,), "s"), batch.draws.uniform((3,), "s")[rows])


def test_a_batch_size_of_nothing_is_refused_at_once(split: Split):
    with pytest.raises(ValueError, match="--batch-size must be at least 1, not 0"):
        batches(split, 0, seed=0)
