import gzip
import itertools
import json
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hardy.models.architecture import Architecture, available
from hardy.models.load import load, read_checkpoint, save
from hardy.models.normalize import Normalize
from hardy.models.small import small_resnet
from hardy.models.state_dicts import WRAPPERS, fit
from hardy.models.wide_resnet import wide_resnet

SMALL = Architecture("small_resnet", 10, 1, "none")


def moved(model: nn.Module) -> nn.Module:
    """With BatchNorm statistics that are not the initial ones."""
    model.train()(torch.rand(4, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(3)
    return moved(SMALL.build())


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def write(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


# our own files


def test_our_own_file_needs_no_flag(tmp_path, small):
    path = tmp_path / "runs" / "one" / "best.safetensors"
    extra = {"epoch": 3, "accuracy": 0.5}
    save(path, small, SMALL, classes=[str(i) for i in range(10)], extra=extra)
    state = torch.get_rng_state()
    found = read_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(found.model, small)
    assert not found.model.training
    assert found.architecture == SMALL
    assert found.classes == tuple("0123456789")
    assert found.extra == extra
    assert found.ours
    assert found.notes == []
    assert same(load(path.parent), small)  # a run folder means its best


def test_double_stays_double(tmp_path):
    model = moved(SMALL.build()).double()
    save(tmp_path / "a.safetensors", model, SMALL, classes=[], extra={})
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert found.classes is None
    assert same(found.model, model)
    assert next(found.model.parameters()).dtype == torch.float64


def test_normalisation_and_sizes_come_back(tmp_path):
    architecture = Architecture("thin_resnet18", 7, 2, "0.5,0.25/0.5,2.0")
    model = architecture.build().eval()
    save(tmp_path / "a.safetensors", model, architecture, classes=[], extra={})
    again = load(tmp_path / "a.safetensors")
    x = torch.rand(2, 2, 32, 32)
    assert torch.equal(again(x), model(x))


def test_tied_and_strided_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[0].bias = nn.Parameter(torch.arange(8.0)[::2])
    save(tmp_path / "a.safetensors", model, SMALL, classes=[], extra={})
    stored = load_file(tmp_path / "a.safetensors")
    assert torch.equal(stored["0.weight"], stored["1.weight"])
    assert torch.equal(stored["0.bias"], torch.tensor([0.0, 2.0, 4.0, 6.0]))


def test_class_names_must_match(tmp_path, small):
    with pytest.raises(ValueError, match="10 classes needs as many class names, not 2"):
        save(tmp_path / "a.safetensors", small, SMALL, classes=["a", "b"], extra={})


def test_a_file_does_not_choose_code(tmp_path, monkeypatch, small):
    (tmp_path / "hardy_test_own.py").write_text(
        "from pathlib import Path\n"
        "Path('imported').touch()\n"
        "from hardy.models.small import small_resnet as make\n"
    )
    monkeypatch.chdir(tmp_path)
    architecture = Architecture("hardy_test_own:make", 10, 1, "none")
    path = tmp_path / "best.safetensors"
    save(path, small, architecture, classes=[], extra={})
    with pytest.raises(ValueError, match="pass --model hardy_test_own:make"):
        read_checkpoint(path)
    assert not Path("imported").exists()
    found = read_checkpoint(path, model="hardy_test_own:make")
    assert found.architecture == architecture
    assert found.ours
    assert same(found.model, small)


def test_an_own_network_behind_a_normalisation_comes_back(tmp_path, monkeypatch):
    (tmp_path / "hardy_test_plain.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    architecture = Architecture("hardy_test_plain:make", 10, 3, "0.5,0.5,0.5/0.5,0.5,0.5")
    model = architecture.build().eval()
    save(tmp_path / "a.safetensors", model, architecture, classes=[], extra={})
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(load(tmp_path / "a.safetensors", model=architecture.model)(x), model(x))
    # The same weights as someone else would have written them.
    bare = write(tmp_path / "a.pt", model.get_submodule("model").state_dict())
    again = load(bare, model=architecture.model, normalize=architecture.normalize)
    assert torch.equal(again(x), model(x))


def test_a_module_for_our_own_file_is_not_normalised_twice(tmp_path):
    architecture = Architecture("hardy_test_absent:make", 10, 1, "0.5/0.5")
    model = small_resnet(normalize="0.5/0.5").eval()
    save(tmp_path / "a.safetensors", model, architecture, classes=[], extra={})
    x = torch.rand(2, 1, 8, 8)
    again = load(tmp_path / "a.safetensors", model=small_resnet(normalize="0.5/0.5"))
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("stored", ["resnet999", "a:b\nc", "os:system; rm"])
def test_an_unknown_stored_network(tmp_path, small, stored):
    path = tmp_path / "a.safetensors"
    save(path, small, Architecture(stored, 10, 1, "none"), classes=[], extra={})
    with pytest.raises(ValueError, match="is unknown here: pass --model") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert same(load(path, model="small_resnet"), small)


def test_damaged_description(tmp_path, small):
    path = tmp_path / "a.safetensors"
    save_file(small.state_dict(), path, {"hardy": json.dumps({"architecture": {"model": "x"}})})
    with pytest.raises(ValueError, match="description of itself is damaged"):
        read_checkpoint(path)


# files from elsewhere

PREFIXES = (
    "",
    "module.",
    "model.",
    "net.",
    "1.",
    "attacker.model.",
    "_orig_mod.",
    "student.",
    "module.1.",
    "_orig_mod.module.",
)


@pytest.mark.parametrize(("wrapper", "prefix"), [*itertools.product((None, *WRAPPERS), PREFIXES)])
def test_wrappers_and_prefixes(tmp_path, small, wrapper, prefix):
    state = OrderedDict((prefix + key, value) for key, value in small.state_dict().items())
    value = state if wrapper is None else {wrapper: state, "epoch": 3, "lr": [0.1]}
    found = read_checkpoint(write(tmp_path / "a.pt", value))
    assert same(found.model, small)
    assert found.architecture == SMALL
    assert not found.ours
    assert any(f"prefix {prefix!r}" in note for note in found.notes) == bool(prefix)


def test_nested_wrappers_and_the_older_file_format(tmp_path, small):
    path = tmp_path / "a.pth"
    value = {"state_dict": {"model": small.state_dict()}, "ema": {"x": torch.zeros(1)}}
    torch.save(value, path, _use_new_zipfile_serialization=False)
    found = read_checkpoint(path, model="small_resnet")
    assert same(found.model, small)
    assert any("the file also holds ema" in note for note in found.notes)


def test_foreign_safetensors(tmp_path, small):
    state = {f"module.{key}": value for key, value in small.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    assert same(load(tmp_path / "a.safetensors"), small)


@pytest.mark.parametrize("shape", [(-1,), (1, -1, 1, 1), (-1, 1, 1)])
@pytest.mark.parametrize(
    ("prefix", "mean", "std"),
    [
        ("1.", "0.mean", "0.std"),
        ("", "normalize.mean", "normalize.std"),
        ("module.model.", "module.normalizer.new_mean", "module.normalizer.new_std"),
        ("", "mu", "sigma"),
        ("model.", "model.mean", "model.std"),
    ],
)
def test_normalisation_beside_the_network(tmp_path, small, prefix, mean, std, shape):
    state = {prefix + key: value for key, value in small.state_dict().items()}
    state[mean], state[std] = torch.tensor([0.3]).view(shape), torch.tensor([0.7]).view(shape)
    path = write(tmp_path / "a.pt", state)
    found = read_checkpoint(path)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(found.model(x), small((x - 0.3) / 0.7))
    assert found.architecture.normalize == "0.3/0.7"
    assert f"normalisation 0.3/0.7 taken from the file's {mean} and {std}" in found.notes
    # The user's word counts more.
    found = read_checkpoint(path, normalize="none")
    assert torch.equal(found.model(x), small(x))
    assert any("not used, as none was given" in note for note in found.notes)


def test_a_copy_of_the_network_beside_it(tmp_path, small):
    state = {f"module.model.{key}": value for key, value in small.state_dict().items()}
    twice = state | {key.replace(".model", ".attacker.model"): v for key, v in state.items()}
    found = read_checkpoint(write(tmp_path / "a.pt", twice))
    assert same(found.model, small)
    assert not any("fit as well" in note for note in found.notes)
    other = {f"teacher.{key}": value + 1 for key, value in small.state_dict().items()}
    found = read_checkpoint(write(tmp_path / "a.pt", state | other))
    assert same(found.model, small)
    assert any("'teacher.' fit as well and differ" in note for note in found.notes)


def test_the_unused_stage_of_the_trades_family():
    torch.manual_seed(0)
    model = wide_resnet(10, 1)
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    extra = {
        key.replace("block1", "sub_block1"): value
        for key, value in state.items()
        if "block1" in key
    }
    found = fit(state | extra, model.state_dict())
    assert found.exact
    assert found.entries.keys() == model.state_dict().keys()
    assert any(f"left out {len(extra)} entries of sub_block1" in note for note in found.notes)


def test_files_from_before_batchnorm_counted(tmp_path, small):
    state = {k: v for k, v in small.state_dict().items() if "num_batches" not in k}
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(load(write(tmp_path / "a.pt", state))(x), small(x))


def test_half_precision_is_computed_in_float32(tmp_path, small):
    state = {k: v.half() if v.is_floating_point() else v for k, v in small.state_dict().items()}
    found = read_checkpoint(write(tmp_path / "a.pt", state))
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert any("float16" in note for note in found.notes)


def test_classes_and_channels_are_read_off_the_shapes(tmp_path):
    model = small_resnet(num_classes=7, in_channels=4)
    found = read_checkpoint(write(tmp_path / "a.pt", model.state_dict()), model="small_resnet")
    assert found.architecture == Architecture("small_resnet", 7, 4, "none")


@pytest.mark.parametrize("name", available())
def test_each_network_is_recognised_by_its_names_and_shapes(name):
    architecture = Architecture.of(name, num_classes=13)
    with torch.device("meta"):
        state = architecture.build().state_dict()
        fits = []
        for other in available():
            net = Architecture.of(other, num_classes=13).build()
            fits += [other] if fit(state, net.state_dict()).exact else []
    assert fits == [name]


def test_a_module_is_filled_in_place(tmp_path, small):
    path = write(tmp_path / "a.pt", {"state_dict": small.state_dict()})
    model = small_resnet()
    found = read_checkpoint(path, model=model)
    assert found.model is model
    assert same(model, small)
    assert (found.architecture.num_classes, found.architecture.in_channels) == (10, 1)
    behind = read_checkpoint(path, model=small_resnet(), normalize="0.5/0.5").model
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(behind(x), small((x - 0.5) / 0.5))
    # One that normalises by itself is not normalised again.
    own = small_resnet(normalize="0.5/0.5")
    assert read_checkpoint(path, model=own, normalize="0.50/0.5").model is own


def normalising(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """A network that takes no normalize, and has its own."""
    return small_resnet(num_classes, in_channels, normalize="0.5/0.25")


@pytest.mark.parametrize("handed_in", [True, False])
def test_a_network_that_normalises_is_normalised_once(tmp_path, small, handed_in):
    def read(path, **more):
        return read_checkpoint(
            path, model=normalising() if handed_in else f"{__name__}:normalising", **more
        )

    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = small((x - 0.5) / 0.25)
    state = small.state_dict()
    same_there = state | {"mean": torch.tensor([0.5]), "std": torch.tensor([0.25])}
    for said in (None, "0.5/0.25", "0.50/0.250"):
        for value in (state, same_there):
            found = read(write(tmp_path / "a.pt", value), normalize=said)
            assert torch.equal(found.model(x), expected)
            assert found.architecture.normalize == "0.5/0.25" and found.notes == []
    # Built anew from what is known of it, it is the same.
    again = Architecture(f"{__name__}:normalising", 10, 1, "0.5/0.25").build()
    assert sum(isinstance(module, Normalize) for module in again.modules()) == 1
    found = read(tmp_path / "a.pt", normalize="none")
    assert torch.equal(found.model(x), expected)
    assert found.notes == ["none is put before the network, which itself normalises by 0.5/0.25"]
    # What the file says otherwise is not used, and what the user does is a mistake.
    other = state | {"mean": torch.tensor([0.3]), "std": torch.tensor([0.7])}
    found = read(write(tmp_path / "a.pt", other))
    assert torch.equal(found.model(x), expected)
    unused = "was not used, as the network itself normalises by 0.5/0.25"
    assert found.notes == [f"normalisation 0.3/0.7 of the file's mean and std {unused}"]
    with pytest.raises(ValueError, match=r"normalises its pixels by 0.5/0.25, and 0.3/0.7 was"):
        read(tmp_path / "a.pt", normalize="0.3/0.7")
    ours = tmp_path / "a.safetensors"
    save(ours, small, Architecture("absent:make", 10, 1, "0.3/0.7"), classes=[], extra={})
    found = read(ours)
    assert torch.equal(found.model(x), expected)
    assert found.notes == [f"normalisation 0.3/0.7 of the file's description {unused}"]


# errors


def test_misfit_names_the_keys_and_the_network_that_fits(tmp_path):
    path = write(tmp_path / "a.pt", Architecture.of("thin_resnet18").build().state_dict())
    with pytest.raises(ValueError) as error:
        read_checkpoint(path, model="resnet18")
    text = str(error.value)
    assert str(path) in text
    assert "conv1.weight file (16, 3, 3, 3) net (64, 3, 3, 3)" in text
    assert "and 93 more" in text
    assert "it fits thin_resnet18: pass --model thin_resnet18" in text
    assert "\n" not in text


def test_misfit_of_classes(tmp_path, small):
    path = write(tmp_path / "a.pt", small.state_dict())
    with pytest.raises(
        ValueError,
        match=r"linear.weight file \(10, 64\) net \(100, 64\).*"
        r"it fits small_resnet with 10 classes and 1 channels",
    ):
        read_checkpoint(path, model="small_resnet", num_classes=100)


def test_missing_and_unexpected_keys_are_named(tmp_path, small):
    state = small.state_dict()
    state["head.weight"] = state.pop("linear.weight")
    path = write(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match=r"missing: linear.weight; unexpected: head.weight"):
        read_checkpoint(path, model="small_resnet")
    with pytest.raises(ValueError, match=r"missing: linear.weight"):
        read_checkpoint(path, model=small_resnet())
    with pytest.raises(ValueError, match=r"fits none of .* pass --model"):
        read_checkpoint(path)


def test_a_foreign_file_beside_what_is_missing_is_not_silently_cut(tmp_path, small):
    state = {f"model.{key}": v for key, v in small.state_dict().items() if "linear" not in key}
    state["head.linear"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"unexpected: head.linear"):
        read_checkpoint(write(tmp_path / "a.pt", state), model="small_resnet")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, small, new):
    path = tmp_path / "a.pt"
    value = {"state_dict": small.state_dict(), "x": Malicious(tmp_path / "ran")}
    torch.save(value, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=r"was refused.*mkdir.*torch.save\(model.state_dict") as e:
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(e.value)


def test_a_pickled_module_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"was refused.*re-save the weights"):
        read_checkpoint(write(tmp_path / "a.pt", nn.Linear(2, 2)))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file(tmp_path, small, kind, share):
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        save(path, small, SMALL, classes=[], extra={})
    else:
        torch.save(small.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="is damaged") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match=r"holds no best.safetensors"):
        read_checkpoint(tmp_path)
    text = tmp_path / "a.txt"
    text.write_text("<html>Not found</html>")
    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        read_checkpoint(text)
    with pytest.raises(ValueError, match=r"holds no state dict .* only epoch, lr"):
        read_checkpoint(write(tmp_path / "a.pt", {"epoch": 3, "lr": 0.1}))
    with pytest.raises(ValueError, match=r"holds no state dict .* only list"):
        read_checkpoint(write(tmp_path / "a.pt", [1, 2]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, small, value):
    state = {key: tensor.clone() for key, tensor in small.state_dict().items()}
    state["layer2.0.bn1.running_var"][3] = value
    with pytest.raises(ValueError, match=r"NaN or infinity in layer2.0.bn1.running_var:"):
        read_checkpoint(write(tmp_path / "a.pt", state))


# the robust checkpoints of the development folder


def test_mnist_checkpoint(checkpoints):
    found = read_checkpoint(checkpoints / "mnist_trades_smallcnn.pt")
    assert found.architecture == Architecture("mnist_cnn", 10, 1, "none")
    images = checkpoints.parent / "data" / "t10k-images-idx3-ubyte.gz"
    labels = checkpoints.parent / "data" / "t10k-labels-idx1-ubyte.gz"
    with gzip.open(images) as file:
        file.seek(16)
        pixels = np.frombuffer(file.read(300 * 784), np.uint8)
    with gzip.open(labels) as file:
        file.seek(8)
        y = torch.tensor(np.frombuffer(file.read(300), np.uint8).astype("int64"))
    x = torch.tensor(pixels.reshape(300, 1, 28, 28).astype("float32") / 255)
    with torch.no_grad():
        assert (found.model(x).argmax(1) == y).float().mean() > 0.97


def test_resnet2b_checkpoint(checkpoints):
    found = read_checkpoint(checkpoints / "cifar10_resnet2b.pth")
    assert found.architecture == Architecture("resnet2b", 10, 3, "cifar10")
    assert isinstance(found.model.get_submodule("normalize"), Normalize)
    assert found.model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_thin_resnet18_checkpoint(checkpoints):
    path = checkpoints / "cifar10_thin_resnet18_pgd_at.pth"
    found = read_checkpoint(path, normalize="cifar10")
    assert found.architecture == Architecture("thin_resnet18", 10, 3, "cifar10")
    assert any("holds no normalisation" in note for note in read_checkpoint(path).notes)
    with pytest.raises(ValueError, match="it fits thin_resnet18: pass --model thin_resnet18"):
        read_checkpoint(path, model="wrn34_10")
