"""Reads naga's SPIR-V of all variants with readers that are not naga's: spirv-val, and spirv-cross, which writes MSL,
GLSL and HLSL from it.

    spirv.py TEXTS

TEXTS is the folder that tests/translation writes."""

import collections
import concurrent.futures
import json
import os
import subprocess
import sys

# A rule of validators from 2026 on, which naga's ArrayStride on workgroup arrays breaks. Drivers do not mind.
TOLERATED = "VUID-StandaloneSpirv-None-10684"


def run(*command):
    """None where the command succeeds; else what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr or done.stdout or f"status {done.returncode}").strip()


def readers(file, variant):
    """What each reader says of a variant."""
    # Halves in HLSL are not written from byte buffers.
    targets = {"msl": ["--msl", "--msl-version", "20400"], "glsl": ["--version", "430"]}
    if not variant["half"]:
        targets["hlsl"] = ["--hlsl", "--shader-model", "60"]
    if variant["kind"] == "subgroups":
        # Desktop GLSL has them from 4.5 on with an extension that Vulkan's dialect names.
        targets["glsl"] = ["--version", "450", "--vulkan-semantics"]
    said = {"spirv-val": run("spirv-val", "--target-env", "vulkan1.1", file)}
    if TOLERATED in (said["spirv-val"] or ""):
        said["spirv-val"] = None
    for target, flags in targets.items():
        said[f"spirv-cross {target}"] = run("spirv-cross", *flags, "--output", os.devnull, file)
    return said


def main(texts):
    with open(f"{texts}/variants.json") as f:
        variants = [v for v in json.load(f)["variants"] if v["kind"] != "cooperative"]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = list(pool.map(lambda v: readers(f"{texts}/spirv/{v['number']}.spv", v), variants))
    tried, passed = collections.Counter(), collections.Counter()
    faults = collections.defaultdict(list)
    for variant, by_reader in zip(variants, said):
        for reader, fault in by_reader.items():
            tried[reader] += 1
            passed[reader] += fault is None
            if fault is not None:
                faults[f"{reader}: {fault.splitlines()[0]}"].append(variant["key"])
    for fault, keys in faults.items():
        print(f"{fault}: {len(keys)} variants, {keys[0]} among them", file=sys.stderr)
    # A reader that takes everything proves nothing.
    broken = f"{texts}/spirv/broken.spv"
    with open(f"{texts}/spirv/{variants[0]['number']}.spv", "rb") as whole, open(broken, "wb") as half:
        words = whole.read()
        half.write(words[: len(words) // 8 * 4])
    control = {"kind": "plain", "half": False}
    unnoticed = [reader for reader, fault in readers(broken, control).items() if fault is None]
    if unnoticed:
        print(f"control: half of a module is taken by {', '.join(unnoticed)}", file=sys.stderr)
    print("spirv: " + ", ".join(f"{reader} {passed[reader]} of {tried[reader]}" for reader in tried))
    return 1 if faults or unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
