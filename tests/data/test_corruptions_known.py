"""The parts of the corruptions against SciPy, loops and numbers worked out by hand."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from hardy.data.corruptions import corrupt
from hardy.data.corruptions.blur import _shuffle
from hardy.data.corruptions.digital import _affine, _grid, _warped
from hardy.data.corruptions.filters import gaussian, motion, zooming
from hardy.data.corruptions.frost import textures
from hardy.data.corruptions.spatter import _distance, _edges, _equalised
from hardy.data.corruptions.weather import plasma
from hardy.draws import Draws

DRAWS = Draws(1, 5, torch.arange(3))


def field(*shape: int) -> Tensor:
    return Draws(0, 0, torch.arange(shape[0])).uniform(shape[1:], "test", torch.float64)


def every_colour() -> Tensor:
    """(1, 3, 16, 16): greys, pure colours and mixtures, black and white among them."""
    steps = [0, 1, 60, 128, 200, 255]
    colours = list(itertools.product(steps, repeat=3)) + [(k, k, k) for k in range(40)]
    return torch.tensor(colours, dtype=torch.uint8).T.reshape(1, 3, 16, 16)


@pytest.mark.parametrize("border", ["nearest", "reflect", "mirror"])
@pytest.mark.parametrize(("sigma", "truncate"), [(0.05, 4), (0.4, 4), (1, 4), (3.1, 3)])
def test_smoothing_is_scipy_s(border: str, sigma: float, truncate: float):
    x = field(2, 1, 12, 12)
    wanted = [
        ndimage.gaussian_filter(each[0].numpy(), sigma, mode=border, truncate=truncate)
        for each in x
    ]
    assert np.allclose(gaussian(x, sigma, border, truncate)[:, 0], np.stack(wanted), atol=1e-14)


def test_motion_to_the_right_is_half_a_gaussian():
    x = torch.zeros(1, 1, 5, 9, dtype=torch.float64)
    x[0, 0, 2, 6] = 1
    dragged = motion(x, 2, 1.0, torch.tensor([0.0]))
    bell = np.exp(-(np.arange(5) ** 2) / 2)
    bell /= bell.sum()
    wanted = np.zeros((5, 9))
    wanted[2, 6:1:-1] = bell
    assert np.allclose(dragged[0, 0], wanted, atol=1e-7)


def test_motion_follows_its_angle_and_repeats_the_border():
    x = field(3, 2, 9, 9)
    angles = torch.tensor([45.0, -90.0, 45.0])
    dragged = motion(x, 1, 2.0, angles)
    bell = np.exp(-(np.arange(3) ** 2) / 8)
    bell /= bell.sum()
    # 45°: a step of 1 is 0.71 pixels both ways, of 2 is 1.41, so whole pixels 0, 1, 1.
    for row, line in enumerate([[(0, 0), (1, 1), (1, 1)], [(0, 0), (-1, 0), (-2, 0)]]):
        for y, x_place in itertools.product(range(9), range(9)):
            wanted = torch.zeros(2, dtype=torch.float64)
            for weight, (down, right) in zip(bell, line, strict=True):
                place = min(max(y + down, 0), 8), min(max(x_place + right, 0), 8)
                wanted += weight * x[row, :, place[0], place[1]]
            assert torch.allclose(dragged[row, :, y, x_place], wanted)
    assert torch.allclose(dragged[2], motion(x[2:], 1, 2.0, angles[:1])[0])


def test_zooming_enlarges_the_centre():
    # The centre 4 of 8 pixels, its ends on the ends: 8 pixels in steps of 3/7.
    ramp = torch.arange(8, dtype=torch.float64)
    assert torch.allclose(zooming(8, 1.0) @ ramp, ramp)
    assert torch.allclose(zooming(8, 2.0) @ ramp, 2 + ramp * 3 / 7)


@pytest.mark.parametrize("delta", [1, 2, 3])
def test_the_shuffle_is_the_original_s_loop(delta: int):
    size = 16
    move = DRAWS.integers(2 * delta, (2, size, size), "shuffle") - delta
    wanted = torch.arange(size * size).view(1, size, size).repeat(3, 1, 1)
    for picture in range(3):
        for row in range(size - delta, delta, -1):
            for column in range(size - delta, delta, -1):
                down, right = move[picture, :, row, column].tolist()
                wanted[picture, row, column] = wanted[picture, row + down, column + right]
    assert torch.equal(_shuffle(size, delta, DRAWS, "shuffle"), wanted.flatten(1))


def test_shot_noise_inverts_poisson_s_distribution():
    images = (field(3, 3, 16, 16) * 256).to(torch.uint8)
    images[0] = 0
    noisy = corrupt(images, "shot_noise", 5, seed=1, index=torch.arange(3))
    u = DRAWS.uniform((3, 16, 16), "shot_noise", torch.float64)
    count = stats.poisson.ppf(u.numpy(), images.numpy() / 255 * 50)
    assert np.array_equal(noisy, (np.clip(count / 50, 0, 1) * 255).astype(np.uint8))
    assert (noisy[0] == 0).all()


def test_impulses_are_black_or_white_with_equal_chance():
    images = torch.full((100, 3, 32, 32), 77, dtype=torch.uint8)
    noisy = corrupt(images, "impulse_noise", 4, seed=0, index=torch.arange(100))
    for level in (0, 255):  # of 307,200 values, within five deviations
        assert (noisy == level).double().mean() == pytest.approx(0.025, abs=0.0015)
    assert set(noisy.unique().tolist()) == {0, 77, 255}


@pytest.mark.parametrize(("name", "severity"), [("brightness", 3), ("saturate", 2)])
def test_colours_change_in_hsv(name: str, severity: int):
    images = every_colour()
    changed = corrupt(images, name, severity, seed=0, index=torch.zeros(1, dtype=torch.int64))
    for before, after in zip(images[0].flatten(1).T, changed[0].flatten(1).T, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before.numpy() / 255))
        if name == "brightness":
            v = min(v + 0.15, 1)
        else:
            s *= 0.1
        wanted = np.array(colorsys.hsv_to_rgb(h, s, v)) * 255
        assert np.abs(after.numpy() - (wanted - 0.5)).max() <= 0.5 + 1e-9  # truncated


def test_grey_turns_reddish_where_saturation_is_added():
    images = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    changed = corrupt(images, "saturate", 5, seed=0, index=torch.zeros(1, dtype=torch.int64))
    assert changed[0, 0, 0, 0] == 100
    assert 79 <= changed[0, 1, 0, 0] == changed[0, 2, 0, 0] <= 80  # 100 · (1 − 0.2)


def test_elastic_reads_as_scipy_does():
    x = field(2, 3, 10, 10).float()
    source = _grid(10) + 6 * (field(2, 2, 10, 10) - 0.5)
    for border in ("mirror", "reflect"):
        found = _warped(x, source, border)
        for picture, channel in itertools.product(range(2), range(3)):
            places = source[picture].flip(0).numpy()
            wanted = ndimage.map_coordinates(x[picture, channel], places, order=1, mode=border)
            assert np.allclose(found[picture, channel], wanted, atol=1e-5)


def test_the_affine_map_takes_the_moved_points_back():
    assert torch.allclose(_affine(32, 0, DRAWS), _grid(32).expand(3, -1, -1, -1))
    source = _affine(32, 2, DRAWS)
    moved = 2 * (2 * DRAWS.uniform((3, 2), "elastic/affine", torch.float64) - 1)
    for picture in range(3):
        for point, shift in zip([(26, 26), (26, 6), (6, 6)], moved[picture], strict=True):
            place = torch.tensor(point, dtype=torch.float64) + shift
            back = [
                ndimage.map_coordinates(source[picture, axis], place.flip(0)[:, None], order=1)[0]
                for axis in (0, 1)
            ]
            assert back == pytest.approx(point, abs=1e-9)


def test_plasma_is_diamond_square():
    size, decay = 8, 2.0
    found = plasma(size, decay, DRAWS)
    for picture in range(3):
        wanted = np.zeros((size, size))
        step, wobble = size, 100.0
        while step >= 2:
            half, cells = step // 2, size // step

            def u(kind: str, y: int, x: int, step=step, cells=cells, picture=picture) -> float:
                drawn = DRAWS.uniform((cells, cells), f"plasma/{kind}/{step}", torch.float64)
                return 2 * drawn[picture, y, x].item() - 1

            def mean(*places: tuple[int, int], wanted=wanted) -> float:
                return sum(wanted[y % size, x % size] for y, x in places) / 4

            grid = [(y, x, y * step, x * step) for y in range(cells) for x in range(cells)]
            for y, x, top, left in grid:
                corners = [(top + dy, left + dx) for dy in (0, step) for dx in (0, step)]
                wanted[top + half, left + half] = mean(*corners) + wobble**2 * u("square", y, x)
            for kind, dy, dx in (("top", 0, half), ("left", half, 0)):
                for y, x, top, left in grid:
                    at = (top + dy, left + dx)
                    around = [(at[0] + a, at[1] + b) for a, b in ((half, 0), (-half, 0))]
                    around += [(at[0], at[1] + b) for b in (half, -half)]
                    wanted[at] = mean(*around) + wobble**2 * u(kind, y, x)
            step, wobble = half, wobble / decay
        wanted = (wanted - wanted.min()) / (wanted - wanted.min()).max()
        assert np.allclose(found[picture], wanted, atol=1e-12)


def test_distances_are_chamfer_lengths():
    edges = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    edges[0, 0, 3, 4] = edges[0, 0, 9, 1] = True
    found = _distance(edges, far=7)
    steps = {(1, 0): 1, (1, 1): 1.4, (1, 2): 2.1969}
    moves = {
        (sy * a, sx * b): length
        for (p, q), length in steps.items()
        for a, b in ((p, q), (q, p))
        for sy in (1, -1)
        for sx in (1, -1)
    }
    wanted = np.where(edges[0, 0], 0.0, np.inf)
    for _ in range(12):  # as many rounds as the longest way has steps
        for (dy, dx), length in moves.items():
            for y, x in itertools.product(range(12), range(12)):
                if 0 <= y + dy < 12 and 0 <= x + dx < 12:
                    wanted[y, x] = min(wanted[y, x], wanted[y + dy, x + dx] + length)
    assert np.allclose(found[0, 0], wanted.clip(max=7))
    assert (found[1] == 7).all()  # no edge of its own, and the other picture's do not count
    assert (_distance(torch.zeros(1, 1, 3, 3, dtype=torch.bool), far=5) == 5).all()


def test_edges_of_a_block():
    images = torch.zeros(2, 1, 9, 9, dtype=torch.uint8)
    images[0, 0, 3:6, :] = 200
    images[1, 0, 3:6, :] = 20  # Sobel: 80, weak, and nothing strong beside it
    found = _edges(images)
    # The slope is the same on both sides of a step, and of the two rows the upper one wins.
    assert found[0, 0].sum(1).tolist() == [0, 0, 9, 0, 0, 9, 0, 0, 0]
    assert not found[1].any()


def test_a_weak_edge_stays_where_it_meets_a_strong_one():
    images = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    images[0, 0, 4:, :4] = 20
    images[0, 0, 4:, 4:] = 60
    assert _edges(images)[0, 0, 3, :3].all()
    images[0, 0, 4:, 4:] = 20
    assert not _edges(images).any()


def test_equalised_histogram_by_hand():
    images = torch.tensor([[[[10, 10], [20, 30]]], [[[9, 9], [9, 9]]]], dtype=torch.uint8)
    # The lowest level becomes 0 and does not count: 255 · 1/2 = 127.5, to the even 128.
    assert _equalised(images).tolist() == [[[[0, 0], [128, 255]]], [[[9, 9], [9, 9]]]]


def test_frost_s_textures_are_made_once_and_bluish():
    ice = textures(200)
    assert ice is textures(200)
    assert ice.shape == (5, 3, 200, 200)
    red, green, blue = ice.double().mean((0, 2, 3)).tolist()
    assert red < green < blue
    assert 140 < green < 180
