"""Whatever is wrong with what was asked: exit code 2, one line that says what to do, and
nothing half-written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from verb_runs import MRC, RIFT, SMALL, TRAIN, hardy, replaced

from hardy import load
from hardy.models.architecture import Architecture
from hardy.models.load import save


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the words with an --out of its own and gives back the line that they earn."""

    def refuse(*words: object, out: Path | None = None) -> str:
        folder = out or tmp_path / "out"
        capsys.readouterr()
        assert hardy(*words, "--out", folder) == 2
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert line.startswith("hardy: ") and line[-1] not in ".:"
        assert said.out == ""
        assert out is not None or not folder.exists()
        return line

    return refuse


@pytest.fixture(scope="session")
def files(robust: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints that are all wrong in their own way."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "corrupt.pt").write_bytes(b"PK\x03\x04 and no more")
    whole = (robust / "best.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    state = load(robust).state_dict()
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, folder / "nan.pt")
    torch.save({"state_dict": Trap(folder / "sprung")}, folder / "trap.pt")
    (folder / "trap.pkl").write_bytes(pickle.dumps(Trap(folder / "sprung"), protocol=2))
    for name, classes, channels in (
        ("seven", 7, 1),
        ("colour", 10, 3),
        ("renamed", 10, 1),
    ):
        spec = Architecture("small_resnet", classes, channels, "none")
        names = [f"class {i}" for i in range(classes)]
        save(folder / f"{name}.safetensors", spec.build(), spec, classes=names, extra={})
    spec = Architecture("mnist_cnn", 10, 1, "none")
    digits = tuple("0123456789")
    save(folder / "mnist_cnn.safetensors", spec.build(), spec, classes=digits, extra={})
    return folder


class Trap:
    """A pickle that runs code where it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("absent.pt", "no file"),
        ("corrupt.pt", "download or copy it again"),
        ("cut.safetensors", "is damaged"),
        ("nan.pt", "NaN or infinity in conv1.weight"),
        ("trap.pt", "was refused"),
        ("trap.pkl", "was refused"),
        ("seven.safetensors", "7 classes apart, digits has 10"),
        ("colour.safetensors", "3 colour channels, digits has 1"),
        ("renamed.safetensors", "class 'class 0' where digits has '0'"),
        ("mnist_cnn.safetensors", "does not take the 8×8 pictures of digits"),
    ],
)
def test_checkpoints(file: str, said: str, files: Path, refused: Callable[..., str]) -> None:
    named = () if file.endswith(".safetensors") else ("--model", "small_resnet")
    for verb in (MRC, RIFT, ("evaluate", *SMALL)):
        assert said in refused(*verb, "--checkpoint", files / file, *named)
    assert not (files / "sprung").exists()


def test_a_checkpoint_of_another_network(foreign: Path, refused: Callable[..., str]) -> None:
    line = refused(*RIFT, "--checkpoint", foreign, "--model", "preact_resnet18")
    assert "do not fit preact_resnet18" in line
    assert "pass --model small_resnet" in line


@pytest.mark.parametrize("value", ["0", "-0.1", "8/0", "abc", "nan", "inf", ""])
def test_radii(value: str, robust: Path, refused: Callable[..., str]) -> None:
    for flag in ("--eps", "--step-size", "--mrc-step-size"):
        line = refused(*replaced(RIFT, flag, value), "--checkpoint", robust)
        assert flag in line and "8/255" in line.replace("2/255", "8/255")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--steps", "0"),
        ("--steps", "2.5"),
        ("--restarts", "0"),
        ("--batch-size", "0"),
        ("--batch-size", "-1"),
        ("--epochs", "0"),
        ("--lr", "0"),
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--lr", "many"),
        ("--momentum", "-1"),
        ("--weight-decay", "-1"),
        ("--milestones", "-1"),
        ("--limit", "0"),
        ("--limit", "ten"),
        ("--val-fraction", "0"),
        ("--val-fraction", "1"),
        ("--image-size", "0"),
        ("--test-limit", "0"),
        ("--norm", "l7"),
        ("--precision", "fp4"),
        ("--seed", "x"),
    ],
)
def test_numbers_and_words(
    flag: str, value: str, robust: Path, refused: Callable[..., str]
) -> None:
    assert flag in refused(*replaced(TRAIN, flag, value))
    assert flag in refused(*replaced(RIFT, flag, value), "--checkpoint", robust)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--awp", "-1"),
        ("--awp", "nan"),
        ("--awp", "much"),
        ("--awp-warmup", "-1"),
        ("--average", "mean"),
        ("--average-decay", "2"),
        ("--average-decay", "1"),
        ("--average-decay", "nan"),
        ("--average-start", "-0.1"),
        ("--average-start", "1"),
        ("--average-batchnorm", "shared"),
        ("--accumulate", "0"),
        ("--devices", "0"),
        ("--extra-fraction", "-0.1"),
        ("--extra-fraction", "0"),
        ("--extra-fraction", "1"),
        ("--extra-fraction", "nan"),
        ("--extra-limit", "0"),
        ("--eval-steps", "0"),
        ("--eval-eps", "0"),
        ("--eval-eps", "nan"),
        ("--on-collapse", "panic"),
    ],
)
def test_what_train_alone_asks(flag: str, value: str, refused: Callable[..., str]) -> None:
    """Whether or not the flag has anything to say in this run."""
    words = replaced(TRAIN, flag, value)
    assert flag in refused(*words)
    if flag.startswith("--average-"):
        assert flag in refused(*words, "--average", "ema")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--k", "0"),
        ("--alphas", "0"),
        ("--alphas", "2"),
        ("--alphas", "nan"),
        ("--tolerance", "-0.1"),
        ("--radius", "0"),
        ("--mrc-pictures", "-1"),
        ("--choose-pictures", "0"),
        ("--choose", "x"),
        ("--choose-on", "x"),
        ("--batchnorm", "x"),
        ("--trainable", "x"),
        ("--mrc-split", "val"),
        ("--mrc-ascent", "x"),
        ("--modules", ","),
    ],
)
def test_what_rift_alone_asks(
    flag: str, value: str, robust: Path, refused: Callable[..., str]
) -> None:
    assert flag in refused(*replaced(RIFT, flag, value), "--checkpoint", robust)


def test_lists_must_not_be_empty(robust: Path, refused: Callable[..., str]) -> None:
    for flag in ("--lr", "--alphas", "--batchnorm"):
        assert flag in refused(*RIFT, flag, "--checkpoint", robust)


def test_a_module_that_does_not_exist(robust: Path, refused: Callable[..., str]) -> None:
    line = refused(*RIFT, "--modules", "layer3.0.conv9", "--checkpoint", robust)
    assert "'layer3.0.conv9'" in line
    assert "layer3.0.conv1" in line and "layer3.0.conv2" in line
    assert "'conv1.weight'" in refused(*RIFT, "--modules", "conv1.weight", "--checkpoint", robust)


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--data", "digit", "did you mean digits?"),
        ("--data", "folder:/nowhere", "does not exist"),
        ("--model", "small_resnt", "small_resnet"),
        ("--model", "nowhere:net", "no module 'nowhere'"),
        ("--model", "resnet2b", "does not take the 8×8 pictures of digits"),
        ("--model", "mnist_cnn", "does not take the 8×8 pictures of digits"),
        ("--method", "pgdat", "did you mean pgd_at"),
        ("--method", "./nowhere.py", "no method file"),
        ("--method-options", "beta=6", "it has attack_mode"),
        ("--method-options", "attack_mode=odd", "attack_mode must be one of"),
        ("--recipe", "pgd_at_rif", "did you mean pgd_at_rift?"),
        ("--recipe", "rift_official", "is for hardy rift, not train"),
        ("--schedule", "linear", "--schedule"),
        ("--normalize", "cifar", "normalize"),
        ("--device", "cuda:9", "no device 'cuda:9' here"),
        ("--device", "abacus", "no device 'abacus' here"),
        ("--val-pictures", "0", "--val-pictures"),
    ],
)
def test_names(flag: str, value: str, said: str, refused: Callable[..., str]) -> None:
    assert said in refused(*replaced(TRAIN, flag, value))


def test_what_is_missing(refused: Callable[..., str]) -> None:
    assert "--model is missing" in refused("train", *SMALL)
    assert "--checkpoint is missing" in refused(*RIFT)
    assert "--checkpoint is missing" in refused(*MRC)
    assert "nothing to evaluate" in refused("evaluate", *SMALL)
    assert "--recipe needs a name" in refused(*RIFT, "--recipe=")


def test_checkpoints_by_position_and_by_flag(robust: Path, refused: Callable[..., str]) -> None:
    line = refused("evaluate", robust, "--checkpoint", robust, *SMALL)
    assert "not both" in line


def test_a_folder_that_is_no_run(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "holds no best.safetensors" in refused("evaluate", tmp_path, *SMALL)


def test_out_that_cannot_be_written(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file" in refused(*TRAIN, out=file)
    assert "another folder" in refused(*TRAIN, out=file / "run")
    assert file.read_text() == "mine"


def pictures(folder: Path, classes: dict[str, int]) -> Path:
    """A folder data set of small grey pictures."""
    draw = np.random.default_rng(0)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = draw.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(noise).save(folder / name / f"{i}.png")
    return folder


def test_damaged_pictures(tmp_path: Path, refused: Callable[..., str]) -> None:
    folder = pictures(tmp_path / "set", {"cat": 12, "dog": 12})
    words = replaced(TRAIN, "--data", f"folder:{folder}")
    (folder / "empty").mkdir()
    assert "class folder empty" in refused(*words)
    (folder / "empty").rmdir()
    whole = (folder / "cat" / "3.png").read_bytes()
    (folder / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])
    assert "3.png" in refused(*words)


def test_a_label_out_of_range(tmp_path: Path, refused: Callable[..., str]) -> None:
    root = tmp_path / "cifar"
    root.mkdir()
    record = np.zeros((20, 3073), np.uint8)
    record.tofile(root / "test_batch.bin")
    record[7, 0] = 200
    record.tofile(root / "data_batch_1.bin")
    line = refused(*replaced(TRAIN, "--data", "cifar10"), "--data-root", root)
    assert "label 200" in line and "0 to 9" in line


def test_report_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content, said in ((None, "no results.json"), ("{", "not a results file")):
        if content is not None:
            (tmp_path / "results.json").write_text(content)
        assert hardy("report", tmp_path) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("hardy: ") and said in line
        assert not (tmp_path / "report.html").exists()


def test_demo_takes_away_nothing_but_a_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert hardy("demo", "--out", tmp_path) == 2
    assert "is not an earlier demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_loss_that_is_no_number_stops_the_run_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hardy(*replaced(TRAIN, "--lr", "1e9"), "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("hardy: ") and "lower the learning rate" in line
