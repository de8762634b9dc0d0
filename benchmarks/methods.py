"""Every method, plain and in AWP, with and without averaged weights, at one budget; then RiFT.

python benchmarks/methods.py digits
python benchmarks/methods.py cifar --data-root $SHARED/data --jobs 2

Trains what is not there yet under --out (a run that was stopped goes on), and prints the table
of all that is. digits takes minutes on two cores, cifar (10,000 pictures of CIFAR-10 as JPEG, a
ResNet-18 of 16 channels) about two hours.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runs import arguments, run, shown

from hardy.evaluation.results import Results, read

METHODS = ("standard", "fast_at", "pgd_at", "trades", "mart", "score")
GAMMAS = ("0", "0.005")
COMMON = (
    *("--steps", "4", "--eval-steps", "10", "--schedule", "onecycle"),
    *("--average", "ema", "--average-decay", "0.98", "--device", "cpu"),
)
TRAIN = {
    "digits": (
        *("--data", "digits", "--val-fraction", "0.3", "--model", "small_resnet"),
        *("--eps", "0.2", "--epochs", "20"),
    ),
    "cifar": (
        *("--data", "folder:cifar10-jpeg.tar.xz", "--limit", "10000", "--model", "thin_resnet18"),
        *("--epochs", "8", "--precision", "bf16", "--val-pictures", "500", "--test-limit", "2000"),
    ),
}
RIFT = {
    "digits": (
        *("--data", "digits", "--val-fraction", "0.3", "--eps", "0.2", "--device", "cpu"),
        *("--k", "3", "--lr", "0.01", "--no-bn-only"),
    ),
    "cifar": (
        *("--data", "folder:cifar10-jpeg.tar.xz", "--limit", "10000", "--eps", "8/255"),
        *("--device", "cpu", "--precision", "bf16", "--mrc-pictures", "512"),
        *("--choose-pictures", "1000", "--test-limit", "2000", "--k", "3", "--lr", "0.01"),
        *("--epochs", "3", "--milestones", "2", "--alphas", "0.25", "0.5", "0.75", "1"),
        "--no-bn-only",
    ),
}


def main() -> None:
    parser = arguments(__doc__, "runs/methods")
    parser.add_argument("setting", choices=TRAIN)
    asked = parser.parse_args()
    out = asked.out / asked.setting
    out.mkdir(parents=True, exist_ok=True)
    root = ("--data-root", str(asked.data_root)) if asked.data_root else ()

    def trained(job: tuple[str, str]) -> None:
        method, gamma = job
        words = ("train", *TRAIN[asked.setting], *COMMON, "--method", method, "--awp", gamma)
        run((*words, *root), out / f"{method}-{gamma}")

    def tuned(method: str) -> None:
        start = out / f"{method}-0" / "live.safetensors"
        words = ("rift", *RIFT[asked.setting], "--checkpoint", str(start))
        run((*words, *root), out / f"{method}-rift")

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(trained, [(method, gamma) for gamma in GAMMAS for method in METHODS]))
        list(pool.map(tuned, METHODS))
    print("\n".join([*_training_table(out), "", *_rift_table(out)]))


def _training_table(out: Path) -> list[str]:
    rows = [
        "| method | weights | clean, % | PGD-10 worst of 3, % | best epoch |",
        "|---|---|---:|---:|---:|",
    ]
    for method in METHODS:
        for gamma in GAMMAS:
            results = read(out / f"{method}-{gamma}")
            name = method + (" + AWP" if gamma != "0" else "")
            for subject, weights in ((name, "live"), (f"{name} + EMA", "EMA")):
                cells = [
                    _test(results, f"{kind} accuracy", subject) for kind in ("clean", "robust")
                ]
                cells.append(str(_best_epoch(results, subject)))
                rows.append(f"| {name} | {weights} | {' | '.join(cells)} |")
    return rows


def _rift_table(out: Path) -> list[str]:
    rows = [
        "| start | module, α | clean, % | gain | PGD-10 worst of 3, % | gain |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for method in METHODS:
        results = read(out / f"{method}-rift")
        cells = []
        for kind in ("clean", "robust"):
            start = _test(results, f"{kind} accuracy", "start")
            gain = next(results.select(f"{kind} accuracy gain", subject="result"), None)
            cells += [start, "–" if gain is None else shown(gain, signed=True)]
        chosen = f"{results.facts.get('module') or '–'}, {results.facts.get('alpha')}"
        rows.append(f"| {method} | {chosen} | {' | '.join(cells)} |")
    return rows


def _best_epoch(results: Results, subject: str) -> int:
    chosen = next(
        m
        for m in results.select("robust accuracy", subject=subject)
        if m.setting.get("chosen") and "epoch" in m.setting
    )
    return int(str(chosen.setting["epoch"]))


def _test(results: Results, quantity: str, subject: str) -> str:
    found = [
        m
        for m in results.select(quantity, subject=subject)
        if not {"epoch", "alpha"} & m.setting.keys()
    ]
    return shown(found[0])


if __name__ == "__main__":
    main()
