"""The table of the accuracy runs of `run call 2` and `run call 3`:

    python accuracy.py FOLDER

FOLDER holds a folder a run, with what `amcl-wgpu train`, `eval linear` and `eval similarity` wrote. Needs nothing but
Python. A run that was cut off is told as not finished.
"""
import json
import pathlib
import sys

COLUMNS = "{:8}{:>10}  {:34}{:>10}{:>9}{:>7}{:>7}{:>7}{:>8}{:>6}"


def read(path):
    return json.loads(path.read_text()) if path.exists() else {}


def records(path):
    # A run that was killed may leave half a line.
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def row(run):
    metrics = records(run / "metrics.jsonl")
    evals = [r for r in metrics if r["kind"] == "eval"]
    before = next((r["knn_top1"] for r in evals if r.get("untrained")), None)
    knn = " ".join(f"{r['epoch']}: {r['knn_top1']:.2f}" for r in evals if not r.get("untrained"))
    last = next((r for r in reversed(metrics) if r["kind"] == "epoch"), {})
    # Medians of the first head.
    tau = [last[key][0][1] if last.get(key) else None for key in ("tau_pos", "tau_neg")]
    end = read(run / "summary.json")
    cells = [run.name, number(before, 2), knn or "none", number(read(run / "eval-linear.json").get("linear_top1"), 2)]
    cells += [number(last.get("loss"), 4), number(tau[0], 3), number(tau[1], 3)]
    cells += [end.get("alarms", "-"), end.get("skipped_steps", "-"), number(end.get("seconds"), 0)]
    return COLUMNS.format(*cells) + ("" if end else "  NOT FINISHED")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(COLUMNS.format(*"run,untrained,kNN % by epoch,linear %,loss,tau+,tau-,alarms,skipped,s".split(",")))
    for run in sorted(pathlib.Path(sys.argv[1]).glob("*")):
        print(row(run))
        for pairs in read(run / "eval-similarity.json").get("similarity", []):
            for s in pairs["scores"]:
                ends = f"positive {s['positive']:6.3f} negative {s['negative']:6.3f} overlap {s['overlap']:5.1f} %"
                print(f"        {s['of']:34} {ends}")


if __name__ == "__main__":
    main()
