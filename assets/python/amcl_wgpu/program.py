"""The program `amcl-wgpu`: where it is, and how it is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

Folder = Union[str, "os.PathLike[str]"]

# The line of a finished training that names its folder.
_RUN_FOLDER = "run folder: "


class RunError(RuntimeError):
    """The program ended with an error. The text is the program's message."""


def find_program() -> Path:
    """The program's file: what AMCL_WGPU names, the wheel's own, or the first on PATH.

    Raises FileNotFoundError where there is none.
    """
    named = os.environ.get("AMCL_WGPU")
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"AMCL_WGPU names {named}, which is no file")
        return Path(named)
    windows = os.name == "nt"
    name = "amcl-wgpu.exe" if windows else "amcl-wgpu"
    if hasattr(sysconfig, "get_preferred_scheme"):  # Python 3.10
        user = sysconfig.get_preferred_scheme("user")
    else:
        user = "nt_user" if windows else "posix_user"
    beside = Path(__file__).parents[1] / "bin"  # pip install --target
    for folder in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user), beside):
        if Path(folder, name).is_file():
            return Path(folder, name)
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError("no program amcl-wgpu beside this Python or on PATH; set AMCL_WGPU to its file")
    return Path(found)


def _flags(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings as the program's arguments: a mapping is a section of the configuration, all else a flag."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from ("--set", f"{name}.{key}={_toml(inner)}")
        elif value is True:
            yield _flag(name)
        elif isinstance(value, (list, tuple)):
            for each in value:
                yield from (_flag(name), str(each))
        elif value is not None and value is not False:
            yield from (_flag(name), os.fspath(value) if isinstance(value, os.PathLike) else str(value))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _toml(value: Any) -> str:
    """A value as TOML. JSON's strings, numbers, booleans and arrays are TOML's too, but for infinity and NaN."""
    return json.dumps(os.fspath(value) if isinstance(value, os.PathLike) else value)


def run(**settings: Any) -> Path:
    """Trains as `amcl-wgpu train` does, prints what it prints, and returns the run's folder.

    A setting is a flag of `amcl-wgpu train`, with `_` for `-`: `preset="simclr-cifar10"`, `epochs=100`,
    `batch_size=64`, `overwrite=True`. A mapping is a section of the configuration, as `--set` takes it:
    `optim={"lr": 0.1}`. A list repeats a flag: `set=["data.stored_size=128"]`. `resume=RUN` goes on with a run. None
    and False leave a flag out.

    Raises RunError with the program's message where it fails or is stopped before its end, and FileNotFoundError where
    there is no program. On KeyboardInterrupt the program saves a checkpoint first.
    """
    arguments = [str(find_program()), "train", *_flags(settings)]
    complaints: list[str] = []
    lines: list[str] = []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, **streams, text=True, encoding="utf-8", errors="replace") as child:
        reader = threading.Thread(target=_pass_on, args=(child.stderr, sys.stderr, complaints), daemon=True)
        reader.start()
        try:
            _pass_on(child.stdout, sys.stdout, lines)
            code = child.wait()
        except KeyboardInterrupt:
            # The terminal has sent it to the program as well, which saves and ends.
            child.wait()
            raise
        except BaseException:
            child.terminate()
            raise
        finally:
            reader.join()
    folders = [line[len(_RUN_FOLDER) :] for line in lines if line.startswith(_RUN_FOLDER)]
    if code == 0 and folders:
        return Path(folders[-1])
    errors = [line[len("error: ") :] for line in complaints if line.startswith("error: ")]
    said = errors or complaints[-1:] or lines[-1:] or [f"amcl-wgpu train ended with exit code {code}"]
    raise RunError(said[-1])


def _pass_on(source: Any, target: Any, kept: list[str]) -> None:
    """Prints every line as it comes, and keeps it."""
    for line in source:
        kept.append(line.rstrip("\r\n"))
        print(kept[-1], file=target, flush=True)
