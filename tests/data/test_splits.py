from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardy.data.splits import Split, halves, limited, shuffled, stratified


def test_shares_are_exact_and_the_rest_goes_to_the_largest_remainder():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    # 13 of 100: shares 6.5, 3.9 and 2.6, so 6 + 3 + 2, and the two left go to classes 1 and 2.
    rows = stratified(labels, 13, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [6, 4, 3]


def test_ties_go_to_the_lower_class():
    labels = torch.arange(10).repeat_interleave(5)
    assert torch.bincount(labels[stratified(labels, 12, 3)]).tolist() == [2, 2] + [1] * 8


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(-(2**40), 2**40),
)
def test_a_sample_is_sorted_distinct_exact_and_within_one_of_each_share(labels, share, seed):
    answers = torch.tensor(labels)
    count = round(share * len(labels))
    rows = stratified(answers, count, seed)
    assert len(rows) == count
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(rows, stratified(answers, count, seed))
    taken = torch.bincount(answers[rows], minlength=7)
    wished = torch.bincount(answers, minlength=7) * count / len(labels)
    assert ((taken - wished).abs() < 1).all()


def test_samples_of_other_seeds_differ():
    labels = torch.zeros(200, dtype=torch.int64)
    assert not torch.equal(stratified(labels, 50, 0), stratified(labels, 50, 1))


def test_every_example_is_as_likely_as_any_other():
    labels = torch.arange(40) % 2
    hits = torch.zeros(40)
    for seed in range(600):
        hits[stratified(labels, 10, seed)] += 1
    # Each is Binomial(600, 1/4): mean 150, deviation 10.6.
    assert ((hits - 150).abs() < 5 * 10.6).all()


@pytest.mark.parametrize("count", [-1, 6])
def test_a_sample_larger_than_the_whole_is_refused(count: int):
    with pytest.raises(ValueError, match="cannot be taken from 5"):
        stratified(torch.zeros(5, dtype=torch.int64), count, 0)


def test_a_permutation_does_not_change_with_versions():
    # A checkpoint's validation split must stay unseen for ever: these numbers may not move.
    assert shuffled(8, 0, 0, "sample").tolist() == [1, 2, 5, 4, 7, 6, 0, 3]


def test_halves_are_disjoint_stratified_and_cover(split: Split):
    choosing, reported = halves(split, seed=1)
    assert (choosing.name, reported.name) == ("test (choosing half)", "test (reported half)")
    assert len(choosing) == len(reported) == 10
    assert choosing.labels.sum() == reported.labels.sum() == 5
    assert sorted([*choosing.index.tolist(), *reported.index.tolist()]) == list(range(100, 120))


def test_the_odd_example_is_reported(split: Split):
    choosing, reported = halves(split.take(slice(0, 7)), seed=1)
    assert (len(choosing), len(reported)) == (3, 4)


def test_a_part_keeps_pictures_labels_and_index_together(split: Split):
    part = limited(split, 6, seed=0)
    assert len(part) == 6
    assert torch.equal(part.images[:, 0, 0, 0].long() + 100, part.index)
    assert torch.equal(part.labels, (part.index - 100) % 2)


def test_a_limit_above_the_size_or_none_keeps_all(split: Split):
    assert limited(split, None, 0) is split
    assert limited(split, 20, 0) is split
    with pytest.raises(ValueError, match="--limit must be at least 1"):
        limited(split, 0, 0)


def test_pixels_are_fractions_of_255(split: Split):
    split.images[3, 0, 1, 1] = 255
    pixels = split.pixels(torch.tensor([3]))
    assert pixels.dtype == torch.float32
    assert pixels.flatten().tolist() == pytest.approx([3 / 255] * 3 + [1])
    assert split.images[3, 0, 0, 0] == 3  # the division is not in place on the data


def test_pixels_are_a_copy_of_the_same_bits_as_a_division_of_floats() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    split = Split(images, torch.zeros(1, dtype=torch.int64), torch.zeros(1), "test")
    assert torch.equal(split.pixels(slice(None)), images.float().div(255))
    assert images.flatten().tolist() == list(range(256))
