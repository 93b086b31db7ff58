"""Compiles naga's HLSL of all variants with DXC, as wgpu would on DirectX 12.

    dxc.py LIBRARY TEXTS ABORTS

LIBRARY is libdxcompiler, TEXTS the folder that tests/translation writes. ABORTS lists the variants that end the compiler
itself, one key a line: these must do so still, all others must compile, and the controls must be refused. DXC runs in
child processes, so that one that ends takes only its own text with it."""

import collections
import concurrent.futures
import ctypes as C
import json
import os
import re
import subprocess
import sys
import uuid

# This build's IUnknown has a virtual destructor: two more slots before those of every interface.
DESTRUCTOR_SLOTS = 2
COMPILER3 = "228B4687-5A6A-4730-900C-9702B2203F54"
RESULT = "58346CDA-DDE7-4497-9461-6F87AF5E0659"
COMPILER_CLASS = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
UTF8 = 65001


class Buffer(C.Structure):
    _fields_ = [("text", C.c_char_p), ("length", C.c_size_t), ("encoding", C.c_uint32)]


def guid(text):
    return (C.c_ubyte * 16)(*uuid.UUID(text).bytes_le)


def call(interface, slot, result, *args):
    """Calls a method of a COM interface by its place in the table of methods."""
    table = C.cast(interface, C.POINTER(C.POINTER(C.c_void_p)))[0]
    kind = C.CFUNCTYPE(result, C.c_void_p, *[type(a) for a in args])
    return kind(table[slot + DESTRUCTOR_SLOTS])(interface, *args)


def pointer(x):
    return C.cast(x, C.c_void_p)


def compile_text(library, text, entry, half):
    """The first error; empty where the text compiles."""
    compiler, result, status, blob = C.c_void_p(), C.c_void_p(), C.c_int(), C.c_void_p()
    found = library.DxcCreateInstance(guid(COMPILER_CLASS), guid(COMPILER3), C.byref(compiler))
    if found != 0:
        return f"DxcCreateInstance: {found:#x}"
    # What wgpu-hal passes.
    args = ["-E", entry, "-T", "cs_6_2" if half else "cs_6_0", "-HV", "2018", "-no-warnings", "-Ges"]
    args += ["-enable-16bit-types"] if half else []
    source = Buffer(text, len(text), UTF8)
    call(
        compiler.value, 3, C.c_int,
        pointer(C.byref(source)), pointer((C.c_wchar_p * len(args))(*args)), C.c_uint32(len(args)), C.c_void_p(None),
        pointer(guid(RESULT)), pointer(C.byref(result)),
    )
    call(result.value, 3, C.c_int, pointer(C.byref(status)))
    if status.value == 0:
        return ""
    call(result.value, 5, C.c_int, pointer(C.byref(blob)))
    bytes_ = C.string_at(call(blob.value, 3, C.c_void_p), call(blob.value, 4, C.c_size_t))
    lines = bytes_.decode(errors="replace").splitlines()
    return next((l for l in lines if "error" in l), " ".join(lines)[:200] or f"status {status.value:#x}")


def child(library):
    """Reads texts to compile from standard input, a JSON a line; answers each with a line."""
    library = C.CDLL(library)
    for line in sys.stdin:
        job = json.loads(line)
        with open(job["file"], "rb") as f:
            error = compile_text(library, f.read(), job["entry"], job["half"])
        print(json.dumps(error), flush=True)


def in_children(library, jobs):
    """An answer a job: empty, an error, or None where the compiler ended."""
    answers = []
    while len(answers) < len(jobs):
        command = [sys.executable, __file__, library]
        lines = "".join(json.dumps(j) + "\n" for j in jobs[len(answers):])
        run = subprocess.run(command, input=lines, capture_output=True, text=True)
        answers += [json.loads(l) for l in run.stdout.splitlines()]
        if len(answers) < len(jobs):
            if run.returncode >= 0:
                raise RuntimeError(f"the child that calls DXC failed:\n{run.stderr}")
            answers.append(None)
    return answers


def main(library, texts, aborts):
    with open(f"{texts}/variants.json") as f:
        listed = json.load(f)
    variants = {v["number"]: v for v in listed["variants"] if v["kind"] != "cooperative"}
    job = lambda folder, v: {"file": f"{texts}/{folder}/{v['number']}.hlsl", "entry": v["entry"], "half": v["half"]}
    jobs = [job("hlsl", v) for v in variants.values()] + [job("control", variants[n]) for n in listed["controls"]]
    workers = os.cpu_count()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda i: in_children(library, jobs[i::workers]), range(workers)))
    answers = [parts[i % workers][i // workers] for i in range(len(jobs))]
    controls = answers[len(variants):]
    answers = dict(zip((v["key"] for v in variants.values()), answers))

    with open(aborts) as f:
        known = {l.strip() for l in f if l.strip() and not l.startswith("#")}
    ended = {key for key, answer in answers.items() if answer is None}
    faults = [f"DXC ends on {key}, which {aborts} does not list" for key in sorted(ended - known)]
    faults += [f"DXC no longer ends on {key}: take it out of {aborts}" for key in sorted(known - ended)]
    errors = collections.defaultdict(list)
    for key, answer in answers.items():
        if answer:
            errors[re.sub(r"^[^ ]*:\d+:\d+: ", "", answer)].append(key)
    faults += [f"{error}: {len(keys)} variants, {keys[0]} among them" for error, keys in errors.items()]
    for error in controls:
        if "redefinition of 'ZeroValue" not in (error or ""):
            faults.append(f"control: the old batch_norm_grad is not refused for its helpers, but: {error!r}")
    for fault in faults:
        print(fault, file=sys.stderr)
    compiled = sum(a == "" for a in answers.values())
    print(f"dxc: {compiled} of {len(answers)} texts compile, {len(ended & known)} known to end the compiler, "
          f"{sum(map(len, errors.values()))} refused, {len(controls)} controls refused")
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) == 2:
        child(sys.argv[1])
    else:
        sys.exit(main(*sys.argv[1:]))
