"""support.py - what the tests of this folder share: the right python3, the program, and EMR's formula once more, in torch.

They run in .venv-packages of the source tree, which setup.sh makes, or in any python3 that has the packages."""
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PACKAGES = ["torch", "transformers", "peft", "safetensors", "diffusers", "sentence_transformers"]
VENV = pathlib.Path(__file__).resolve().parents[2] / ".venv-packages/bin/python"

if VENV.exists() and pathlib.Path(sys.prefix) != VENV.parents[1]:
    os.execv(VENV, [str(VENV), *sys.argv])
lacking = [name for name in PACKAGES if not importlib.util.find_spec(name)]
if lacking:
    sys.exit(f"python3 lacks {', '.join(lacking)} (make test-packages installs them)")

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error",
                  DIFFUSERS_VERBOSITY="error", HF_HOME=os.path.join(tempfile.gettempdir(), "no-such-cache"))
import torch
import transformers
from safetensors.torch import load_file

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

EMR = os.path.abspath(sys.argv[1])


class Suite(unittest.TestCase):
    """A folder for each test, and the program."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="emr-packages-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        torch.manual_seed(1)

    def emr(self, *words, status=0):
        done = subprocess.run([EMR, *map(str, words)], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, f"emr {' '.join(map(str, words))}: {done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def merge(self, base, tasks, *options):
        """TASKS are paths; a task's name is its last part. Returns the bundle."""
        bundle = self.folder / "all.emr"
        self.emr("merge", "--base", base, *(word for task in tasks for word in ("--task", f"{task.name}={task}")),
                 "-o", bundle, "--force", *options)
        return bundle

    def apply(self, bundle, task, base, *options):
        """The folder that loads: nothing is copied by hand."""
        out = self.folder / f"{task.name}-again"
        shutil.rmtree(out, ignore_errors=True)
        self.emr("apply", bundle, "--task", task.name, *([] if base == "zeros" else ["--base", base]), "-o", f"{out}/", *options)
        return out

    def rescalers(self, bundle):
        return {task["name"]: task["rescaler"] for task in json.loads(self.emr("inspect", bundle, "--json"))["tasks"]}

    def assert_same(self, got, expected, what=""):
        """Two state dicts, to the bit."""
        self.assertEqual(sorted(got), sorted(expected), what)
        for name, tensor in expected.items():
            self.assertEqual(got[name].dtype, tensor.dtype, f"{what} {name}")
            self.assertEqual(got[name].shape, tensor.shape, f"{what} {name}")
            self.assertTrue(torch.equal(got[name].contiguous().view(-1).view(torch.uint8),
                                        tensor.contiguous().view(-1).view(torch.uint8)), f"{what} {name}")


def load_folder(folder):
    """All tensors of a model's or an adapter's folder."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def elect(taus):
    """(1) to (4) of docs/algorithm.md: the unified vector and each task's mask."""
    total = torch.zeros_like(taus[0])
    for tau in taus:
        total = total + tau
    most, least = torch.stack(taus).amax(0).clamp(min=0), torch.stack(taus).amin(0).clamp(max=0)
    unified = torch.where(total > 0, most, torch.where(total < 0, least, torch.zeros_like(total)))
    return unified, [(tau.sign() == unified.sign()) & (unified != 0) for tau in taus]


class Formula:
    """What EMR makes of a base and tasks, state dicts by name: the base's tensors that are float, of one shape wherever they
    are, and named by no pattern of PRIVATE are merged; of everything else a task keeps its own."""

    def __init__(self, base, tasks, private=None):
        self.base, self.tasks = base, tasks
        self.merged = [name for name, tensor in base.items() if tensor.is_floating_point() and
                       not (private and re.fullmatch(private, name)) and
                       all(name not in task or task[name].shape == tensor.shape for task in tasks.values())]
        self.unified, self.masks = {}, {}
        above, below = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0.0)
        for name in self.merged:
            taus = [task.get(name, base[name]).float() - base[name].float() for task in tasks.values()]
            self.unified[name], masks = elect(taus)
            self.masks[name] = dict(zip(tasks, masks))
            for task, tau in zip(tasks, taus):
                above[task] += float(tau.abs().double().sum())
                below[task] += float(self.unified[name][self.masks[name][task]].abs().double().sum())
        self.rescalers = {task: above[task] / below[task] for task in tasks}

    def weights(self, task, rescaler, dtype=None):
        """(6), with the rescaler that the bundle has: its sums may differ from ours in the last bits."""
        again = dict(self.tasks[task])
        for name in again.keys() & set(self.merged):
            base = self.base[name].float()
            changed = base + torch.tensor(rescaler, dtype=torch.float32) * self.unified[name]
            again[name] = torch.where(self.masks[name][task], changed, base).to(again[name].dtype)
        return {name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in again.items()}


def main():
    """As unittest's, and a failure where no test ran."""
    ran = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False, warnings="ignore").result
    if not ran.wasSuccessful() or ran.skipped or ran.testsRun == 0:
        sys.exit(1)
