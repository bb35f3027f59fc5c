"""test_peft.py EMR - adapters that PEFT saved: merged with --base zeros (or with what they were before training), applied into
a folder, and loaded from there by PeftModel.from_pretrained. The answers are those of adapters with the formula's weights."""
import shutil

import support  # first: it finds the python3 that has the packages
import peft
import tiny
import torch
from safetensors.torch import load_file, save_file

LORA = dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])


class Adapters(support.Suite):
    def setUp(self):
        super().setUp()
        tiny.llama().save_pretrained(self.folder / "model")

    def model(self):
        return type(tiny.llama()).from_pretrained(self.folder / "model")

    def train(self, config, name, seed):
        """An adapter whose every weight was changed."""
        torch.manual_seed(seed)
        adapted = peft.get_peft_model(self.model(), config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
        adapted.save_pretrained(self.folder / name)
        return self.folder / name

    def load(self, folder):
        return peft.PeftModel.from_pretrained(self.model(), folder)

    def check(self, config, base="zeros", *options, private=None):
        tasks = [self.train(config, f"task{i}", i) for i in (1, 2, 3)]
        own = {task.name: load_file(task / "adapter_model.safetensors") for task in tasks}
        start = {name: base.new_zeros(base.shape) for name, base in own["task1"].items()} if base == "zeros" else load_file(base)
        bundle = self.merge(base, tasks, *options)
        formula = support.Formula(start, own, private)
        for task in tasks:
            rescaler = self.rescalers(bundle)[task.name]
            self.assertAlmostEqual(rescaler / formula.rescalers[task.name], 1, delta=1e-6)
            out = self.apply(bundle, task, base)
            weights = formula.weights(task.name, rescaler)
            self.assert_same(load_file(out / "adapter_model.safetensors"), weights, task.name)
            self.check_folder(out, task, weights)

    def check_folder(self, out, task, weights):
        again = self.load(out)
        self.assertEqual(peft.PeftConfig.from_pretrained(out).to_dict(), peft.PeftConfig.from_pretrained(task).to_dict())
        by_hand = self.load(task)
        answer = tiny.outputs(by_hand.get_base_model())
        refused = peft.set_peft_model_state_dict(by_hand, weights).unexpected_keys
        self.assertFalse(refused)
        expected = tiny.outputs(by_hand.get_base_model())
        self.assertFalse(torch.equal(answer, expected))  # The weights matter.
        self.assertTrue(torch.equal(tiny.outputs(again.get_base_model()), expected))
        self.assertTrue(torch.equal(tiny.outputs(again.merge_and_unload()), tiny.outputs(by_hand.merge_and_unload())))

    def test_lora(self):
        self.check(peft.LoraConfig(**LORA))

    def test_lora_with_ranks_of_its_own_for_a_pattern(self):
        self.check(peft.LoraConfig(**LORA, rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 16}, use_rslora=True))

    def test_lora_with_a_trained_head(self):
        self.check(peft.LoraConfig(**LORA, modules_to_save=["lm_head"]), "zeros", "--private", "*lm_head*", private=".*lm_head.*")

    def test_lora_on_embeddings(self):
        self.check(peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "embed_tokens"]))

    def test_loha(self):
        self.check(peft.LoHaConfig(r=4, alpha=8, target_modules=["q_proj", "v_proj"]))

    def test_ia3_on_ones(self):
        config = peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])
        vectors = load_file(self.train(config, "any", 9) / "adapter_model.safetensors")
        ones = self.folder / "ones.safetensors"
        save_file({name: tensor.new_ones(tensor.shape) for name, tensor in vectors.items()}, ones)
        self.check(config, ones)

    def test_lora_on_what_it_was_before_training(self):
        """All began with one seed: the adapter of that seed is the base, and what training changed is merged."""
        torch.manual_seed(5)
        start = peft.get_peft_model(self.model(), peft.LoraConfig(**LORA))
        start.save_pretrained(self.folder / "start")
        given = load_file(self.folder / "start/adapter_model.safetensors")
        tasks = []
        for i in (1, 2):
            path = self.folder / f"task{i}"
            shutil.copytree(self.folder / "start", path)
            torch.manual_seed(i)
            save_file({name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in given.items()},
                      path / "adapter_model.safetensors", {"format": "pt"})
            tasks.append(path)
        bundle = self.merge(self.folder / "start", tasks)
        formula = support.Formula(given, {task.name: load_file(task / "adapter_model.safetensors") for task in tasks})
        for task in tasks:
            weights = formula.weights(task.name, self.rescalers(bundle)[task.name])
            self.check_folder(self.apply(bundle, task, self.folder / "start"), task, weights)

    def test_dora(self):
        """Magnitudes are no changes of zeros: each task keeps its own."""
        self.check(peft.LoraConfig(**LORA, use_dora=True), private=".*lora_magnitude_vector.*")

    def test_ia3_on_the_word_ones(self):
        """--base ones."""
        config = peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])
        tasks = [self.train(config, f"task{i}", i) for i in (1, 2)]
        own = {task.name: load_file(task / "adapter_model.safetensors") for task in tasks}
        bundle = self.merge("ones", tasks)
        formula = support.Formula({name: t.new_ones(t.shape) for name, t in own["task1"].items()}, own)
        for task in tasks:
            self.check_folder(self.apply(bundle, task, "zeros"), task,
                              formula.weights(task.name, self.rescalers(bundle)[task.name]))

    def test_ranks_that_differ(self):
        """What comes back has the task's own rank and alpha."""
        tasks = [self.train(peft.LoraConfig(r=r, lora_alpha=2 * r, target_modules=["q_proj"]), f"task{r}", r) for r in (2, 4)]
        bundle = self.merge("zeros", tasks)
        for task in tasks:
            out = self.apply(bundle, task, "zeros")
            own, again = (load_file(path / "adapter_model.safetensors") for path in (task, out))
            self.assertEqual({name: t.shape for name, t in again.items()}, {name: t.shape for name, t in own.items()})
            self.check_folder(out, task, again)

    def test_applied_to_the_model(self):
        """--apply-adapters merges what merge_and_unload makes, up to roundings of its product."""
        tasks = [self.train(peft.LoraConfig(**LORA), f"task{i}", i) for i in (1, 2)]
        folded = {task.name: self.load(task).merge_and_unload() for task in tasks}
        paths = []
        for name, model in folded.items():
            model.save_pretrained(self.folder / "folded" / name)
            paths.append(self.folder / "folded" / name)
        ours = self.merge(self.folder / "model", tasks, "--apply-adapters")
        out = self.folder / "ours.safetensors"
        self.emr("apply", ours, "--task", "task1", "--base", self.folder / "model", "-o", out)
        again = load_file(out)
        theirs = self.merge(self.folder / "model", paths)
        expected = self.apply(theirs, paths[0], self.folder / "model")
        for name, tensor in support.load_folder(expected).items():
            self.assertTrue(torch.allclose(again[name], tensor, rtol=1e-3, atol=1e-5), name)


if __name__ == "__main__":
    support.main()
