"""A run's encoder in PyTorch."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .program import Folder, RunError, find_program


def load(run_or_export: Folder) -> tuple[Any, Any]:
    """The encoder of a run's folder, or of a folder that `amcl-wgpu export` wrote: model and transform.

    The model is a torch.nn.Module in evaluation mode: [n,3,s,s], normalised, to features [n,d]. The transform makes of
    a PIL image what the model takes. A run is exported into a temporary folder first, from its newest checkpoint.

    Needs torch, torchvision and safetensors (ImportError). Raises FileNotFoundError where the folder is neither, and
    RunError with the program's message where a run cannot be exported.
    """
    folder = Path(run_or_export)
    if (folder / "model.safetensors").is_file():
        return _load(folder)
    if not (folder / "config.toml").is_file():
        raise FileNotFoundError(f"{folder} is neither a run's folder (config.toml) nor an export (model.safetensors)")
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch, "exported")
        command = [str(find_program()), "--quiet", "export", str(folder), "-o", str(exported)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
        if done.returncode != 0:
            raise RunError(done.stderr.strip().removeprefix("error: "))
        return _load(exported)


def _load(exported: Path) -> tuple[Any, Any]:
    # Here and not above: all else of this package works without PyTorch.
    from .load_encoder import load as load_exported

    return load_exported(str(exported))
