import pytest
import torch

from hardy.models.normalize import PUBLISHED, Normalize, normalizer, spec_of


def test_subtracts_the_mean_and_divides_by_the_std():
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    layer = Normalize([0.5, 0.25, 0.125], [0.5, 2.0, 4.0]).double()
    expected = torch.stack(
        [(x[:, 0] - 0.5) / 0.5, (x[:, 1] - 0.25) / 2, (x[:, 2] - 0.125) / 4], dim=1
    )
    assert torch.equal(layer(x), expected)
    assert layer(x).dtype == torch.float64


def test_has_nothing_in_the_state_dict():
    assert not Normalize([0.5], [0.5]).state_dict()


def test_none_is_the_identity():
    x = torch.rand(1, 5, 2, 2)
    assert normalizer("none", 5)(x) is x


@pytest.mark.parametrize("name", PUBLISHED)
def test_spec_and_statistics_turn_into_each_other(name):
    statistics = PUBLISHED[name]
    if statistics is not None:
        assert spec_of(*statistics) == name
        assert spec_of(*torch.tensor(statistics).tolist()) == name


def test_spec_of_other_numbers_reads_back_to_the_bit():
    mean, std = torch.rand(2, 3).add(0.01).tolist()
    layer = normalizer(spec_of(mean, std), 3)
    assert isinstance(layer, Normalize)
    assert layer.mean.flatten().tolist() == mean
    assert layer.std.flatten().tolist() == std
    assert spec_of([0, 0.5], [1, 0.25]) == "0,0.5/1.0,0.25"


@pytest.mark.parametrize(
    ("spec", "channels", "says"),
    [
        ("cifar", 3, "not 'cifar'"),
        ("cifar10", 1, "for 3 channels, the network has 1"),
        ("0.5/0", 1, "positive"),
        ("0.5/-1", 1, "positive"),
        ("nan/1", 1, "finite"),
        ("0.5,0.5/1", 2, "as many means"),
        ("0.5,a/1,1", 2, "m,m,m/s,s,s"),
        ("1/2/3", 1, "m,m,m/s,s,s"),
    ],
)
def test_nonsense_is_refused(spec, channels, says):
    with pytest.raises(ValueError, match=says):
        normalizer(spec, channels)
