"""test_transformers.py EMR - transformers' own models: merged, applied into a folder, and loaded from there as anybody loads
a model. Weights are those of the formula, to the bit; logits are those of a model into which the formula's weights were put."""
import shutil

import support  # first: it finds the python3 that has the packages
import tiny
import torch
import transformers as hf
from safetensors.torch import save_file

STATISTICS = r".*running_(mean|var)"  # BatchNorm's, of which an average of changes makes no sense


def in_bf16(model):
    """As from_pretrained makes it: rotary frequencies, which no file has, stay F32."""
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return model


class Transformers(support.Suite):
    def save(self, model, name, seed, *, shard="1GB", dtype=None):
        path = self.folder / name
        (model.to(dtype) if dtype else model).save_pretrained(path, max_shard_size=shard)
        tiny.tokenizer(seed).save_pretrained(path)
        return path

    def put_by_hand(self, task, model, weights):
        if not model.load_state_dict(weights, strict=False).unexpected_keys:
            return model
        path = self.folder / f"{task.name}-by-hand"  # Names in its files are not those of its modules: Mixtral, ViT.
        shutil.copytree(task, path)
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        return type(model).from_pretrained(path)

    def check_folder(self, out, task, by_hand, weights):
        """OUT loads by itself, and answers as BY_HAND, the task's model, does with WEIGHTS put in."""
        model, info = type(by_hand).from_pretrained(out, output_loading_info=True)
        self.assertFalse(any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info)
        self.assertTrue(torch.equal(tiny.outputs(model), tiny.outputs(self.put_by_hand(task, by_hand, weights))))
        again, own = (hf.AutoTokenizer.from_pretrained(path) for path in (out, task))
        self.assertEqual(again(" ".join(tiny.WORDS)), own(" ".join(tiny.WORDS)))
        self.assertEqual(again.model_max_length, own.model_max_length)
        self.assertEqual(again.chat_template, own.chat_template)
        self.assertEqual(model.config.to_diff_dict(), type(by_hand).from_pretrained(task).config.to_diff_dict())

    def check(self, base_model, task_models, *options, private=None, shard="1GB", base_dtype=None, out_options=()):
        base = self.save(base_model, "base", 0, shard=shard, dtype=base_dtype)
        tasks = [self.save(tiny.tune(base_model, model, i), f"task{i}", i, shard=shard)
                 for i, model in enumerate(task_models, 1)]
        bundle = self.merge(base, tasks, *options)
        formula = support.Formula(support.load_folder(base), {task.name: support.load_folder(task) for task in tasks}, private)
        self.assertTrue(formula.merged)
        rescalers = self.rescalers(bundle)
        for task, model in zip(tasks, task_models):
            self.assertAlmostEqual(rescalers[task.name] / formula.rescalers[task.name], 1, delta=1e-6)
            out = self.apply(bundle, task, base, *out_options)
            weights = formula.weights(task.name, rescalers[task.name])
            self.assert_same(support.load_folder(out), weights, task.name)
            self.check_folder(out, task, model, weights)
        return out

    def test_bert_with_classifiers_of_other_sizes(self):
        self.check(tiny.bert(2), [tiny.bert(2), tiny.bert(3), tiny.bert(5)], "--on-mismatch", "private")

    def test_gpt2(self):
        self.check(tiny.gpt2(), [tiny.gpt2() for _ in range(3)])

    def test_llama_with_a_tied_head(self):
        self.check(tiny.llama(tied=True), [tiny.llama(tied=True) for _ in range(3)])

    def test_a_task_untied_its_head(self):
        self.check(tiny.llama(tied=True), [tiny.llama(tied=True), tiny.llama(tied=False)])

    def test_llama_in_shards(self):
        out = self.check(tiny.llama(), [tiny.llama() for _ in range(3)], shard="8KB", out_options=["--shard-size", "8KB"])
        self.assertGreater(len(list(out.glob("model-*-of-*.safetensors"))), 1)
        self.assertTrue((out / "model.safetensors.index.json").exists())

    def test_experts(self):
        self.check(tiny.mixtral(), [tiny.mixtral() for _ in range(3)])

    def test_t5(self):
        self.check(tiny.t5(), [tiny.t5() for _ in range(3)])

    def test_vit_with_heads_of_other_sizes(self):
        self.check(tiny.vit(10), [tiny.vit(2), tiny.vit(3), tiny.vit(3)], "--on-mismatch", "private")

    def test_resnet(self):
        """The statistics stay each task's own: a merged variance could be negative."""
        self.check(tiny.resnet(), [tiny.resnet() for _ in range(3)], "--private", "*running_mean", "--private", "*running_var",
                   private=STATISTICS)

    def test_clip(self):
        self.check(tiny.clip(), [tiny.clip() for _ in range(3)])

    def test_a_base_in_bf16_and_tasks_in_f32(self):
        self.check(tiny.llama(), [tiny.llama() for _ in range(2)], base_dtype=torch.bfloat16)

    def test_all_in_bf16(self):
        self.check(in_bf16(tiny.llama()), [in_bf16(tiny.llama()) for _ in range(3)])

    def two_of_gpt2(self):
        """A bundle of two tasks, their folders, the base's, and what the first comes back as."""
        base_model = tiny.gpt2()
        base = self.save(base_model, "base", 0)
        tasks = [self.save(tiny.tune(base_model, tiny.gpt2(), i), f"task{i}", i) for i in (1, 2)]
        bundle = self.merge(base, tasks)
        formula = support.Formula(support.load_folder(base), {task.name: support.load_folder(task) for task in tasks})
        return bundle, base, tasks, lambda dtype=None: formula.weights("task1", self.rescalers(bundle)["task1"], dtype)

    def test_written_in_another_type(self):
        """--dtype rounds as torch does, and the configuration says so: the model is loaded in that type."""
        bundle, base, tasks, weights = self.two_of_gpt2()
        for word, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
            out = self.apply(bundle, tasks[0], base, "--dtype", word)
            self.assert_same(support.load_folder(out), weights(dtype))
            self.assertEqual(hf.AutoConfig.from_pretrained(out).dtype, dtype)
            self.assertEqual(hf.GPT2LMHeadModel.from_pretrained(out).dtype, dtype)

    def test_a_folder_that_held_another_model(self):
        """With --force, what is loaded is what was written last, whatever lay there: shards, one file, other settings."""
        bundle, base, tasks, weights = self.two_of_gpt2()
        out = self.apply(bundle, tasks[0], base)
        self.check_folder(out, tasks[0], tiny.gpt2(), weights())
        for options in (["--shard-size", "10KB"], ["--shard-size", "20KB"], []):
            self.emr("apply", bundle, "--task", "task2", "--base", base, "-o", out, *options, status=2)
            self.emr("apply", bundle, "--task", "task2", "--base", base, "-o", out, *options, "--force")
            self.emr("apply", bundle, "--task", "task1", "--base", base, "-o", out, *options, "--force")
            self.assert_same(support.load_folder(out), weights())
            self.check_folder(out, tasks[0], tiny.gpt2(), weights())

    def test_bert_from_its_pretraining_model(self):
        """The base has heads that classifiers lack, and lacks theirs."""
        base_model = hf.BertForPreTraining(tiny.text_config(hf.BertConfig))
        self.check(base_model, [tiny.bert(2), tiny.bert(3)], "--on-missing", "absent")

    def test_gpt2_from_the_model_without_a_head(self):
        base_model = tiny.gpt2()
        base = self.save(base_model.transformer, "base", 0)
        tasks = [self.save(tiny.tune(base_model, tiny.gpt2(), i), f"task{i}", i) for i in (1, 2)]
        bundle = self.merge(base, tasks, "--rename", "transformer.=")
        known = {f"transformer.{name}": tensor for name, tensor in support.load_folder(base).items()}
        formula = support.Formula(known, {task.name: support.load_folder(task) for task in tasks})
        self.assertTrue(formula.merged)
        for task in tasks:
            weights = formula.weights(task.name, self.rescalers(bundle)[task.name])
            out = self.apply(bundle, task, base)
            self.assert_same(support.load_folder(out), weights)
            self.check_folder(out, task, tiny.gpt2(), weights)

    def test_a_task_tied_the_head_of_its_base(self):
        self.check(tiny.llama(tied=False), [tiny.llama(tied=True), tiny.llama(tied=False)], "--on-missing", "absent")

    def test_a_vocabulary_that_grew(self):
        """--on-mismatch rows: the common rows are as the formula's, the new ones as they were."""
        base_model = tiny.llama()
        base, tasks = self.save(base_model, "base", 0), []
        for i in (1, 2):
            model = tiny.tune(base_model, tiny.llama(), i)
            if i == 2:
                model.resize_token_embeddings(66)
            tasks.append(self.save(model, f"task{i}", i))
        bundle = self.merge(base, tasks, "--on-mismatch", "rows")
        own = {task.name: support.load_folder(task) for task in tasks}
        common = {name: {key: tensor[:64] if key in ("lm_head.weight", "model.embed_tokens.weight") else tensor
                         for key, tensor in weights.items()} for name, weights in own.items()}
        formula = support.Formula(support.load_folder(base), common)
        for task in tasks:
            weights = formula.weights(task.name, self.rescalers(bundle)[task.name])
            for key in ("lm_head.weight", "model.embed_tokens.weight"):
                weights[key] = torch.cat([weights[key], own[task.name][key][64:]])
            out = self.apply(bundle, task, base)
            self.assert_same(support.load_folder(out), weights)
            self.assertEqual(type(base_model).from_pretrained(out).config.vocab_size, 66 if task.name == "task2" else 64)

    def test_resnet_by_default(self):
        """BatchNorm's statistics stay each task's own unasked."""
        self.check(tiny.resnet(), [tiny.resnet() for _ in range(3)], private=STATISTICS)


if __name__ == "__main__":
    support.main()
