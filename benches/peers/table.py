"""One table with ratios, from what `amcl-wgpu bench --out`, `pytorch.py --out`, `transformer.py --out` and the burn crate's `--out` wrote on one machine:

    python benches/peers/table.py OURS.json PEER.json [PEER.json ..]

Milliseconds; a ratio over 1 says how many times as fast ours is. Needs nothing but Python.
"""
import json
import re
import sys


def times(report):
    """Seconds by a name that all reports share."""
    rows = {r["name"]: r["seconds"] for r in report.get("rows", [])}
    out = dict(rows)
    for name, forward in rows.items():
        # Ours times the three passes of a convolution and the two of a batch norm each by itself, the peers forward and
        # backward together.
        if name.startswith("conv2d ") and name.replace("conv2d", "conv2d_input_grad", 1) in rows:
            rest = [rows[name.replace("conv2d", f"conv2d_{g}_grad", 1)] for g in ("input", "weight")]
            out[name.replace("conv2d", "conv2d forward+backward", 1)] = forward + sum(rest)
        for op in ("attention", "layer_norm", "gelu"):
            if name.startswith(f"{op} ") and name.replace(op, f"{op}_grad", 1) in rows:
                out[name.replace(op, f"{op} forward+backward", 1)] = forward + rows[name.replace(op, f"{op}_grad", 1)]
        if name.startswith("batch_norm+") and name.replace("batch_norm", "batch_norm_grad", 1) in rows:
            out[name.replace("+add+relu", "+add+relu forward+backward")] = forward + rows[name.replace("batch_norm", "batch_norm_grad", 1)]
        out[name.replace("conv2d+grads", "conv2d forward+backward")] = forward
    for s in report.get("steps", []):
        mixed = " mixed" in s["name"]
        out[s["name"].replace(" mixed", "") + (" mixed" if mixed else " f32") if "step" in s["name"] else f"step {s.get('encoder', 'resnet18')} {named(s)}"] = s["seconds"]
    return out


def named(step):
    """`simclr fp16 compiled` of batch 256 -> `simclr batch 256 mixed (fp16 compiled)`."""
    method, mode, rest = re.fullmatch(r"(.*?) (f32|tf32|bf16|fp16)(.*)", step["name"]).groups()
    precision = "f32" if mode in ("f32", "tf32") else "mixed"
    detail = (mode + rest).strip()
    return f"{method} batch {step['batch']} {precision}" + ("" if detail == "f32" else f" ({detail})")


def peer_name(report):
    return report.get("peer") or f"PyTorch {report['torch']}"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ours, *peers = (json.load(open(p)) for p in sys.argv[1:])
    mine = times(ours)
    for peer in peers:
        print(f"\n{peer_name(peer)} beside amcl-wgpu {ours['version']} on {ours['device']}\n\n| work | peer, ms | ours, ms | ratio |\n|---|---|---|---|")
        for name, seconds in times(peer).items():
            work = re.sub(r" \(.*\)$", "", name)
            if work in mine:
                print(f"| {name} | {1e3 * seconds:.3g} | {1e3 * mine[work]:.3g} | {seconds / mine[work]:.2f} |")


if __name__ == "__main__":
    main()
