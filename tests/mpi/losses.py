"""The losses of an epoch of runs must be those of the first, to within 1e-4: losses.py EPOCH RUN RUN..."""

import json
import sys


def losses(run, epoch):
    with open(f"{run}/metrics.jsonl") as lines:
        steps = [r for r in map(json.loads, lines) if r.get("kind", "step") == "step" and "loss" in r]
    return [r["loss"] for r in steps if r["epoch"] == epoch]


epoch = int(sys.argv[1])
whole = losses(sys.argv[2], epoch)
assert whole, "no losses to compare"
for run in sys.argv[3:]:
    other = losses(run, epoch)
    worst = max(abs(a - b) / abs(a) for a, b in zip(whole, other, strict=True))
    if not worst < 1e-4:
        sys.exit(f"{run}: losses of epoch {epoch} differ by {worst:.1e}")
