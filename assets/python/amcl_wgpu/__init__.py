"""amcl-wgpu from Python: start trainings, read their metrics, load encoders in PyTorch.

    import amcl_wgpu

    run = amcl_wgpu.run(data="photos", preset="simclr-cifar10", model={"image_size": 64}, epochs=100)
    for row in amcl_wgpu.epochs(run):
        print(row["epoch"], row["loss"], row["knn_top1"])
    model, transform = amcl_wgpu.load(run)       # needs torch, torchvision and safetensors

The work is done by the program `amcl-wgpu`, which the wheel installs beside Python. Nothing but `load` needs a package
besides Python itself; `columns` returns numpy arrays where numpy is installed.
"""

from .program import RunError, find_program, run
from .records import columns, epochs, metrics, summary
from .weights import load

__all__ = ["RunError", "columns", "epochs", "find_program", "load", "metrics", "run", "summary"]
