"""Why is it robust, or not: normalisation, LIGS, features and transfer at small radii.

    python benchmarks/diagnosis.py run --data-root $SHARED/data --jobs 2

Trains what is not there yet under --out (a run that was stopped goes on), measures it, and prints
the tables of all that is: standard and adversarial training with five kinds of normalisation, LIGS
over their epochs, networks trained on sets of features with BatchNorm and without, attacks carried
over from several surrogates; and of each claim of Benz et al. (ICCV 2021) whether it holds here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runs import arguments, run, shown

from hardy.evaluation.results import Measurement, Results, read

NORMS = ("bn", "gn", "ln", "in", "none")
METHODS = ("standard", "pgd_at")
EPOCHS = {"standard": 12, "pgd_at": 8}
KEPT = (1, 2, 4)  # epochs of standard training with BatchNorm, as surrogates
DATA = ("--data", "folder:cifar10-jpeg.tar.xz", "--device", "cpu")
# A rate that networks without normalisation bear, for all alike.
NET = (
    *("--model", "thin_resnet18", "--normalize", "cifar10", "--precision", "bf16"),
    *("--lr", "0.05"),
)
L2 = ("--norm", "l2", "--eps", "0.25", "--steps", "10", "--step-size", "0.1", "--restarts", "1")
LINF = ("--norm", "linf", "--eps", "1/255", "--steps", "10", "--step-size", "0.001")
TRAIN = (
    *("--limit", "10000", "--schedule", "onecycle", "--norm", "l2", "--eps", "0.5"),
    *("--steps", "3", "--step-size", "0.25", "--eval-eps", "0.25", "--eval-steps", "10"),
    *("--eval-step-size", "0.1", "--restarts", "1", "--val-pictures", "500"),
    *("--test-limit", "500", "--ligs-pictures", "500"),
)
FEW = ("--limit", "1000")
QUICK = ("--curve-pictures", "0", "--preflight-pictures", "0")
NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
# At the full radius from the first step on, networks without normalisation hardly learn.
WARMUP = ("--eps-warmup", "4")
SETS = ("d_r", "d_rand", "conflicting")
# Of each set, what is asked beside the networks: 200 steps in place of the papers' 1000.
INVERT, ATTACK = ("--inversion-steps", "200"), ("--steps", "100")
FEATURES = {"d_r": INVERT, "d_rand": ATTACK, "conflicting": (*INVERT, *ATTACK)}
ON_FEATURES = (
    *("--method", "standard", "--epochs", "40", "--schedule", "onecycle", *L2),
    *("--val-pictures", "200", "--test-limit", "1000", "--ligs-pictures", "200"),
)
TRANSFER = ("--attack", "mi-fgsm", "--eps", "8/255", "--steps", "10")


def main() -> None:
    parser = arguments(__doc__, "runs/diagnosis")
    parser.add_argument("what", choices=("run", "table"))
    asked = parser.parse_args()
    if asked.what == "run":
        asked.out.mkdir(parents=True, exist_ok=True)
        _run_all(asked)
    for make in (_norms, _epochs, _features, _transfer, _checks):
        print("\n".join([*make(asked.out), ""]))


def _run_all(asked: argparse.Namespace) -> None:
    out, data = asked.out, DATA
    if asked.data_root:
        data = (*DATA, "--data-root", str(asked.data_root))

    def train(method: str, norm: str) -> None:
        folder = out / f"{method}-{norm}"
        words = ("--method", method, "--norm-layer", norm, "--epochs", str(EPOCHS[method]))
        words += WARMUP if method == "pgd_at" else ()
        if (method, norm) == ("standard", "bn"):
            words += ("--keep-epochs", ",".join(map(str, KEPT)))
        run(("train", *data, *NET, *TRAIN, *words), folder)
        measured(folder)

    def measured(folder: Path) -> None:
        noise = ("--corruptions", *NOISE, "--corruption-pictures", "500")
        words = (str(folder), *data, *FEW, "--precision", "bf16", *QUICK)
        run(("evaluate", *words, *L2, *noise), _part(folder, "l2"))
        run(("evaluate", *words, *LINF, "--restarts", "1"), _part(folder, "linf"))
        run(("ligs", str(folder), *data, *FEW), _part(folder, "ligs"))

    def features(name: str) -> None:
        robust, standard = str(out / "pgd_at-bn"), str(out / "standard-bn")
        words = (robust if name == "d_r" else standard, "--set", name, *FEATURES[name])
        words += ("--limit", "2000")
        words += ("--robust", robust) if name == "conflicting" else ()
        made = out / name
        run(("features", *words, *data), made)
        for norm in ("bn", "none"):
            folder = out / f"{name}-{norm}"
            given = ("--data", f"npz:{made / 'features.npz'}", "--device", "cpu")
            run(("train", *given, *NET, *ON_FEATURES, "--norm-layer", norm), folder)
            measured(folder)

    def transfer() -> None:
        early = [str(out / "standard-bn" / f"epoch-{epoch}.safetensors") for epoch in KEPT]
        others = [str(out / name) for name in ("standard-bn", "standard-none", "pgd_at-bn")]
        targets = [str(out / name) for name in ("other-bn", "standard-gn", "standard-none")]
        words = (*early, *others, "--targets", *targets, *data, *FEW, *TRANSFER)
        run(("transfer", *words), out / "transfer")

    def other() -> None:
        words = ("--method", "standard", "--norm-layer", "bn", "--seed", "1")
        words += ("--epochs", str(EPOCHS["standard"]))
        run(("train", *data, *NET, *TRAIN, *words), out / "other-bn")

    with ThreadPoolExecutor(asked.jobs) as pool:
        nets = [(method, norm) for norm in ("bn", "none", "gn", "ln", "in") for method in METHODS]
        waiting = [pool.submit(train, *net) for net in nets] + [pool.submit(other)]
        for each in waiting:
            each.result()
        last = [pool.submit(features, name) for name in SETS] + [pool.submit(transfer)]
        for each in last:
            each.result()


def _part(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}-{what}")


def _there(folder: Path) -> Results | None:
    return read(folder) if (folder / "results.json").is_file() else None


def _one(folder: Path, what: str, quantity: str) -> Measurement | None:
    """A number of a network from the run that measured it."""
    results = _there(_part(folder, what))
    return None if results is None else next(results.select(quantity), None)


def _noise(folder: Path) -> Measurement | None:
    """Mean accuracy under the three kinds of noise, all severities."""
    results = _there(_part(folder, "l2"))
    if results is None:
        return None
    return next(results.select("mean corruption accuracy", of="noise"), None)


def _row(folder: Path) -> list[Measurement | None]:
    return [
        _one(folder, "l2", "clean accuracy"),
        _one(folder, "l2", "robust accuracy"),
        _one(folder, "linf", "robust accuracy"),
        _one(folder, "ligs", "ligs"),
        _noise(folder),
    ]


def _cell(m: Measurement | None) -> str:
    if m is None:
        return "–"
    if m.quantity != "ligs":
        return shown(m)
    low, high = m.interval or (float("nan"), float("nan"))
    return f"{m.value:.3f} [{low:.3f}, {high:.3f}]"


HEADS = "clean, % | PGD-10 l2 .25, % | PGD-10 linf 1/255, % | LIGS | noise, %"


def _norms(out: Path) -> list[str]:
    rows = [f"| trained | norm | {HEADS} |", f"|---|---|{'---:|' * 5}"]
    for method in METHODS:
        for norm in NORMS:
            row = _row(out / f"{method}-{norm}")
            if any(row):
                rows.append(f"| {method} | {norm} | {' | '.join(map(_cell, row))} |")
    return rows


def _over_epochs(folder: Path, quantity: str) -> list[float]:
    """A watched quantity after each epoch of a run."""
    results = _there(folder)
    found = [] if results is None else [m for m in results.select(quantity) if "epoch" in m.setting]
    return [m.value for m in sorted(found, key=lambda m: int(m.setting["epoch"] or 0))]


def _epochs(out: Path) -> list[str]:
    most = max(EPOCHS.values())
    rows = [
        f"| LIGS on val after epoch | {' | '.join(str(i + 1) for i in range(most))} |",
        f"|---|{'---:|' * most}",
    ]
    for method in METHODS:
        for norm in NORMS:
            if found := _over_epochs(out / f"{method}-{norm}", "ligs"):
                cells = [f"{value:.2f}" for value in found] + [""] * (most - len(found))
                rows.append(f"| {method} {norm} | {' | '.join(cells)} |")
    return rows


def _features(out: Path) -> list[str]:
    rows = [f"| trained on | norm | {HEADS} |", f"|---|---|{'---:|' * 5}"]
    names = [(name, norm) for name in SETS for norm in ("bn", "none")]
    for name, norm in names:
        row = _row(out / f"{name}-{norm}")
        if any(row):
            rows.append(f"| {name} | {norm} | {' | '.join(map(_cell, row))} |")
    rows += ["", "| conflicting set | first epoch | highest | last epoch |", "|---|---:|---:|---:|"]
    for norm in ("bn", "none"):
        for quantity in ("RF accuracy", "NRF accuracy"):
            if found := _over_epochs(out / f"conflicting-{norm}", quantity):
                cells = [f"{100 * v:.1f}" for v in (found[0], max(found), found[-1])]
                rows.append(f"| {norm}, {quantity}, % | {' | '.join(cells)} |")
    return rows


def _transfer(out: Path) -> list[str]:
    results = _there(out / "transfer")
    if results is None:
        return []
    cells = list(results.select("transfer success"))
    targets = list(dict.fromkeys(m.subject for m in cells))
    surrogates = list(dict.fromkeys(str(m.setting["surrogate"]) for m in cells))
    rows = [f"| surrogate, fooled of | {' | '.join(targets)} |", f"|---|{'---:|' * len(targets)}"]
    for surrogate in surrogates:
        found = [
            results.select("transfer success", subject=t, surrogate=surrogate) for t in targets
        ]
        rows.append(f"| {surrogate} | {' | '.join(_cell(next(one, None)) for one in found)} |")
    return rows


def _claims(out: Path) -> Iterator[tuple[str, Measurement | None, Measurement | None]]:
    """The claims of the paper: its words, the number that is to be higher, and the lower one."""
    bn, none = out / "standard-bn", out / "standard-none"
    yield "BatchNorm: more clean accuracy", _row(bn)[0], _row(none)[0]
    yield "BatchNorm: less robust, l2 .25", _row(none)[1], _row(bn)[1]
    yield "BatchNorm: less robust, linf 1/255", _row(none)[2], _row(bn)[2]
    yield "BatchNorm: lower LIGS", _row(none)[3], _row(bn)[3]
    yield "BatchNorm: less accurate under noise", _row(none)[4], _row(bn)[4]
    for norm in ("gn", "ln", "in"):
        yield (
            f"{norm}: less robust than none, l2 .25",
            _row(none)[1],
            _row(out / f"standard-{norm}")[1],
        )
    for norm in NORMS:
        robust, standard = (_row(out / f"{method}-{norm}")[3] for method in ("pgd_at", "standard"))
        yield f"adversarial training raises LIGS, {norm}", robust, standard


def _checks(out: Path) -> list[str]:
    """Each claim: holds or fails where the intervals lie apart, and is else undecided."""
    rows = ["| claim | to be higher | to be lower | here |", "|---|---:|---:|---|"]
    for words, high, low in _claims(out):
        if high is None or low is None or high.interval is None or low.interval is None:
            continue
        verdict = "undecided"
        if high.interval[0] > low.interval[1]:
            verdict = "holds"
        elif high.interval[1] < low.interval[0]:
            verdict = "fails"
        rows.append(f"| {words} | {_cell(high)} | {_cell(low)} | {verdict} |")
    if found := _over_epochs(out / "standard-bn", "ligs"):
        fell = "holds" if found[-1] < found[0] else "fails"
        rows.append(
            f"| LIGS falls in standard training | {found[0]:.2f} | {found[-1]:.2f} | {fell} |"
        )
    return rows + list(_carried(out))


def _carried(out: Path) -> Iterator[str]:
    """Whether early and adversarially trained surrogates fool more than the final standard one."""
    results = _there(out / "transfer")
    for m in results.select("transfer success gain", other="standard-bn") if results else ():
        low, high = m.interval or (0.0, 0.0)
        verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
        yield (
            f"| {m.setting['surrogate']} fools {m.subject} more than standard-bn does | "
            f"{shown(m, signed=True)} | | {verdict} |"
        )


if __name__ == "__main__":
    main()
