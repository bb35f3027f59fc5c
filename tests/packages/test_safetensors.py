"""test_safetensors.py EMR - the safetensors package reads all that the program writes, and the program all that the package
writes: every dtype that both have, in one file and in shards, with torch and with numpy."""
import json

import support  # first: it finds the python3 that has the packages
import torch
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, load_model, save_file, save_model

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]


def tensors(seed):
    """Merged floats are F32, F16, BF16 and F64; the rest is in every task as in the base, or is its own."""
    fixed, own = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    made = {}
    for dtype in FLOATS:
        for shape in ((), (3,), (5, 33), (0, 4), (2, 3, 4, 5)):
            values = torch.randn(shape, generator=fixed, dtype=torch.float64) + \
                (0.05 * torch.randn(shape, generator=own, dtype=torch.float64) if seed else 0)
            made[f"{dtype}.{len(shape)}.{values.numel()}".removeprefix("torch.")] = values.to(dtype)
    for dtype in WHOLE:
        made[f"kept.{dtype}"] = torch.arange(6).to(dtype)
        made[f"own.{dtype}"] = (torch.arange(6) + seed).to(dtype)
    if seed:
        made["private.ünï\n\"code\""] = torch.randn(seed, generator=own)
    return made


class Safetensors(support.Suite):
    def setUp(self):
        super().setUp()
        self.base = self.folder / "base.safetensors"
        save_file(tensors(0), self.base, {"format": "pt"})
        self.tasks = [self.folder / f"task{i}.safetensors" for i in (1, 2, 3)]
        for i, task in enumerate(self.tasks, 1):
            save_file(tensors(i), task, {"format": "pt", "author": f"number {i}"})
        self.bundle = self.folder / "all.emr"
        self.emr("merge", "--base", self.base, *(f"--task={task.stem}={task}" for task in self.tasks), "-o", self.bundle)

    def rebuild(self, task, out, *options):
        self.emr("apply", self.bundle, "--task", task.stem, "--base", self.base, "-o", self.folder / out, *options)
        return self.folder / out

    def test_one_file(self):
        formula = support.Formula(tensors(0), {task.stem: tensors(i) for i, task in enumerate(self.tasks, 1)})
        formula_f64 = [name for name in formula.merged if formula.base[name].dtype == torch.float64]
        for i, task in enumerate(self.tasks, 1):
            again = load_file(self.rebuild(task, f"again{i}.safetensors"))
            expected = formula.weights(task.stem, self.rescalers(self.bundle)[task.stem])
            for name in formula_f64:  # differences are taken in f64 there
                self.assertTrue(torch.allclose(again[name], expected[name], rtol=1e-6, atol=1e-6), name)
                expected[name] = again[name]
            self.assert_same(again, expected, task.stem)

    def test_metadata(self):
        with safe_open(self.rebuild(self.tasks[1], "again.safetensors"), "pt") as file:
            self.assertEqual(file.metadata(), {"format": "pt", "author": "number 2"})

    def test_slices(self):
        out = self.rebuild(self.tasks[0], "again.safetensors")
        whole = load_file(out)
        with safe_open(out, "pt") as file:
            self.assertTrue(torch.equal(file.get_slice("float32.2.165")[2:4, 5:], whole["float32.2.165"][2:4, 5:]))

    def test_numpy(self):
        """bfloat16 is not numpy's."""
        out = self.rebuild(self.tasks[0], "again.safetensors", "--dtype", "f32")
        whole = load_file(out)
        for name, array in load_numpy(out).items():
            self.assertEqual(array.tobytes(), whole[name].numpy().tobytes(), name)

    def test_shards(self):
        (self.folder / "shards").mkdir()
        out = self.rebuild(self.tasks[2], "shards", "--shard-size", "2KB")
        index = json.loads((out / "model.safetensors.index.json").read_text())
        whole = load_file(self.rebuild(self.tasks[2], "again.safetensors"))
        self.assertGreater(len(set(index["weight_map"].values())), 1)
        self.assert_same(support.load_folder(out), whole)
        for name, shard in index["weight_map"].items():
            with safe_open(out / shard, "pt") as file:
                self.assertEqual(file.metadata()["format"], "pt")
                self.assertTrue(torch.equal(file.get_tensor(name), whole[name]), name)

    def test_exports(self):
        formula = support.Formula(tensors(0), {task.stem: tensors(i) for i, task in enumerate(self.tasks, 1)})
        self.emr("export", self.bundle, "--unified", "-o", self.folder / "unified.safetensors")
        self.emr("export", self.bundle, "--mask", "task2", "-o", self.folder / "mask.safetensors")
        unified, mask = load_file(self.folder / "unified.safetensors"), load_file(self.folder / "mask.safetensors")
        self.assertEqual(sorted(unified), sorted(formula.merged))
        for name in formula.merged:
            if formula.base[name].dtype != torch.float64:
                self.assertTrue(torch.equal(unified[name], formula.unified[name]), name)
                self.assertEqual(mask[name].dtype, torch.bool)
                self.assertTrue(torch.equal(mask[name], formula.masks[name]["task2"]), name)

    def test_save_model_with_tied_weights(self):
        """save_model leaves one of two tied tensors out; load_model wants just these."""
        def tied(seed):
            torch.manual_seed(seed)
            model = torch.nn.Sequential(torch.nn.Embedding(8, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 8, bias=False))
            model[2].weight = model[0].weight
            return model
        for i, name in enumerate(("base", "fr", "de")):
            save_model(tied(i), self.folder / f"{name}.safetensors")
        self.emr("merge", "--base", self.folder / "base.safetensors", f"--task=fr={self.folder / 'fr.safetensors'}",
                 f"--task=de={self.folder / 'de.safetensors'}", "-o", self.bundle, "--force")
        self.emr("apply", self.bundle, "--task", "fr", "--base", self.folder / "base.safetensors", "-o", self.folder / "x.safetensors")
        model = tied(9)
        self.assertEqual(load_model(model, self.folder / "x.safetensors"), (set(), []))
        self.assertIs(model[0].weight, model[2].weight)


if __name__ == "__main__":
    support.main()
