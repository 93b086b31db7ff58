"""The Python package as its wheel installs it, without PyTorch and numpy: a training, its records, its messages.

usage: python -m unittest tests/outside/test_python.py, with a Python in which the wheel is installed
"""

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path

import amcl_wgpu
from amcl_wgpu.program import _flags

TINY = {
    "device": "cpu",
    "epochs": 2,
    "batch_size": 32,
    "data": {"shapes_train": 96, "shapes_test": 40},
    "model": {"width": 4},
    "heads": {"hidden": 16, "out": 16},
    "run": {"knn_every": 1},
}


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.printed = io.StringIO()
        with contextlib.redirect_stdout(cls.printed):
            cls.folder = amcl_wgpu.run(out=Path(cls.scratch.name, "a run"), **TINY)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_the_wheel_brings_its_own_program(self):
        self.assertEqual(amcl_wgpu.find_program().parent, Path(sys.executable).parent)
        self.assertNotIn("torch", sys.modules)

    def test_a_training_prints_its_lines_and_returns_its_folder(self):
        self.assertEqual(self.folder, Path(self.scratch.name, "a run"))
        printed = self.printed.getvalue().splitlines()
        self.assertEqual(sum(line.startswith("epoch ") for line in printed), 2, printed)
        self.assertIn(f"run folder: {self.folder}", printed)

    def test_records(self):
        everything = amcl_wgpu.metrics(self.folder)
        steps = amcl_wgpu.metrics(self.folder, "step")
        # 96 images in batches of 32, twice.
        self.assertEqual([s["step"] for s in steps], [1, 2, 3, 4, 5, 6])
        self.assertGreater(len(everything), len(steps))
        rows = amcl_wgpu.epochs(self.folder)
        self.assertEqual([r["epoch"] for r in rows], [1.0, 2.0])
        self.assertEqual(rows[-1]["knn_top1"], amcl_wgpu.summary(self.folder)["knn_top1"])
        columns = amcl_wgpu.columns(rows)
        self.assertEqual(list(columns["epoch"]), [1.0, 2.0])
        self.assertEqual(len(columns["loss"]), 2)

    def test_a_line_that_is_being_written_is_left_out_and_a_broken_one_is_named(self):
        folder = Path(self.scratch.name, "under way")
        folder.mkdir()
        (folder / "metrics.jsonl").write_text('{"kind": "step", "step": 1}\n{"kind": "st')
        self.assertEqual(amcl_wgpu.metrics(folder), [{"kind": "step", "step": 1}])
        (folder / "metrics.jsonl").write_text('{"kind": "step", "step": 1}\n{"kind": "st\n')
        with self.assertRaisesRegex(ValueError, "line 2"):
            amcl_wgpu.metrics(folder)

    def test_the_programs_message_is_the_errors(self):
        complaints = io.StringIO()
        with contextlib.redirect_stderr(complaints), contextlib.redirect_stdout(io.StringIO()):
            with self.assertRaises(amcl_wgpu.RunError) as raised:
                amcl_wgpu.run(out=Path(self.scratch.name, "none"), optim={"learning": 0.1})
            self.assertIn("no key optim.learning", str(raised.exception))
            with self.assertRaises(amcl_wgpu.RunError) as raised:
                amcl_wgpu.run(out=self.folder, **TINY)
            self.assertIn("already holds", str(raised.exception))
            with self.assertRaises(amcl_wgpu.RunError) as raised:
                amcl_wgpu.run(no_such_flag=1)
            self.assertIn("--no-such-flag", str(raised.exception))
        self.assertIn("no key optim.learning", complaints.getvalue())

    def test_a_program_without_mpi_refuses_to_be_one_of_several(self):
        folder = Path(self.scratch.name, "ranks")
        os.environ["OMPI_COMM_WORLD_SIZE"] = "4"
        try:
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaisesRegex(amcl_wgpu.RunError, "without MPI"):
                amcl_wgpu.run(out=folder, **TINY)
        finally:
            del os.environ["OMPI_COMM_WORLD_SIZE"]
        self.assertFalse(folder.exists())

    def test_settings_become_arguments(self):
        given = {
            "preset": "quickstart",
            "amcl": True,
            "overwrite": False,
            "seed": None,
            "twin": ["relu", "add"],
            "init": Path("w.safetensors"),
            "optim": {"lr": 0.5, "name": "lars", "nesterov": True, "betas": [0.9, 0.99]},
        }
        wanted = "--preset quickstart --amcl --twin relu --twin add --init w.safetensors --set optim.lr=0.5"
        wanted = wanted.split() + ["--set", 'optim.name="lars"', "--set", "optim.nesterov=true"]
        self.assertEqual(list(_flags(given)), wanted + ["--set", "optim.betas=[0.9, 0.99]"])

    def test_loading_needs_torch_alone_and_says_what_is_no_run(self):
        with self.assertRaisesRegex(FileNotFoundError, "neither a run's folder"):
            amcl_wgpu.load(self.scratch.name)
        if importlib.util.find_spec("torch") is None:
            with self.assertRaises(ImportError) as raised:
                amcl_wgpu.load(self.folder)
            self.assertEqual(raised.exception.name, "torch")
        # An export is not written into the run's folder.
        self.assertFalse(list(self.folder.glob("**/model.safetensors")))

    def test_another_program_can_be_named(self):
        os.environ["AMCL_WGPU"] = str(Path(self.scratch.name, "missing"))
        try:
            with self.assertRaisesRegex(FileNotFoundError, "AMCL_WGPU names"):
                amcl_wgpu.find_program()
        finally:
            del os.environ["AMCL_WGPU"]


if __name__ == "__main__":
    unittest.main()
