"""test_pipelines.py EMR - what is several models in one folder: a pipeline of diffusers, a model of sentence-transformers. Their
parts are merged one by one, put into a copy of the task's folder, and the whole loads and answers as with the formula's weights."""
import shutil

import support  # first: it finds the python3 that has the packages
import diffusers
import sentence_transformers
import tiny
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules as models

diffusers.utils.logging.disable_progress_bar()


def weights_of(part):
    return next(path for path in part.glob("*.safetensors"))


def vary(folder, parts, seed):
    """A "fine-tuned" copy."""
    noise = torch.Generator().manual_seed(seed)
    for part in parts:
        path = weights_of(folder / part)
        save_file({name: tensor + 0.02 * torch.randn(tensor.shape, generator=noise) if tensor.is_floating_point() else tensor
                   for name, tensor in load_file(path).items()}, path, {"format": "pt"})


def make_unet():
    return diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))


class Pipelines(support.Suite):
    def check(self, parts, answer):
        """PARTS are folders in base/; ANSWER gives a whole folder's."""
        base, tasks = self.folder / "base", [self.folder / f"task{i}" for i in (1, 2, 3)]
        for i, task in enumerate(tasks, 1):
            shutil.copytree(base, task)
            vary(task, parts, i)
        again, by_hand = self.folder / "again", self.folder / "by-hand"
        shutil.copytree(tasks[1], again)
        shutil.copytree(tasks[1], by_hand)
        for part in parts:
            whole = {task.name: weights_of(task / part) for task in tasks}
            bundle = self.folder / "part.emr"
            start = weights_of(base / part)
            self.emr("merge", "--base", start, *(f"--task={name}={path}" for name, path in whole.items()), "-o", bundle, "--force",
                     "--no-side-files")
            formula = support.Formula(load_file(start), {name: load_file(path) for name, path in whole.items()})
            save_file(formula.weights("task2", self.rescalers(bundle)["task2"]), weights_of(by_hand / part), {"format": "pt"})
            self.emr("apply", bundle, "--task", "task2", "--base", start, "-o", weights_of(again / part), "--force")
            self.assert_same(load_file(weights_of(again / part)), load_file(weights_of(by_hand / part)), part)
        self.assertTrue(torch.equal(answer(again), answer(by_hand)))
        self.assertFalse(torch.equal(answer(again), answer(base)))

    def test_diffusers(self):
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
        text = hf.CLIPTextModel(tiny.text_config(hf.CLIPTextConfig))
        diffusers.StableDiffusionPipeline(
            unet=make_unet(), vae=vae, text_encoder=text, tokenizer=tiny.tokenizer(0), safety_checker=None, feature_extractor=None,
            scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False), requires_safety_checker=False,
        ).save_pretrained(self.folder / "base")

        def answer(folder):
            pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
            pipeline.set_progress_bar_config(disable=True)
            return pipeline(prompt_embeds=torch.ones(1, 3, 16), negative_prompt_embeds=torch.zeros(1, 3, 16), height=8, width=8,
                            num_inference_steps=2, output_type="pt", generator=torch.Generator().manual_seed(3)).images
        self.check(["unet", "vae", "text_encoder"], answer)

    def check_folder(self, make):
        """The same for one model in a folder, which is written whole. MAKE loads it."""
        base, tasks = self.folder / "base", [self.folder / f"task{i}" for i in (1, 2)]
        for i, task in enumerate(tasks, 1):
            shutil.copytree(base, task)
            vary(task, ["."], i)
        bundle = self.merge(base, tasks)
        formula = support.Formula(support.load_folder(base), {task.name: support.load_folder(task) for task in tasks})
        out = self.apply(bundle, tasks[0], base)
        weights = formula.weights("task1", self.rescalers(bundle)["task1"])
        self.assert_same(support.load_folder(out), weights)
        self.assertEqual(weights_of(out).name, weights_of(base).name)
        make(out)
        return out, weights

    def test_one_part_of_diffusers(self):
        make_unet().save_pretrained(self.folder / "base")
        out, weights = self.check_folder(diffusers.UNet2DConditionModel.from_pretrained)
        self.assert_same(diffusers.UNet2DConditionModel.from_pretrained(out).state_dict(), weights)

    def test_sentence_transformers(self):
        hf.BertModel(tiny.text_config(hf.BertConfig)).save_pretrained(self.folder / "bert")
        tiny.tokenizer(0).save_pretrained(self.folder / "bert")
        sentence_transformers.SentenceTransformer(modules=[
            models.Transformer(str(self.folder / "bert")), models.Pooling(16), models.Dense(16, 8)], device="cpu").save(
                str(self.folder / "base"))
        self.assertTrue((self.folder / "base/2_Dense/model.safetensors").exists())

        def answer(folder):
            model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
            return model.encode(tiny.WORDS[:4], convert_to_tensor=True, show_progress_bar=False)
        self.check([".", "2_Dense"], answer)

    def test_sentence_transformers_with_one_model(self):
        """Pooling and normalisation have settings and no weights: the folder is written whole."""
        hf.BertModel(tiny.text_config(hf.BertConfig)).save_pretrained(self.folder / "bert")
        tiny.tokenizer(0).save_pretrained(self.folder / "bert")
        sentence_transformers.SentenceTransformer(modules=[
            models.Transformer(str(self.folder / "bert")), models.Pooling(16, "cls"), models.Normalize()], device="cpu").save(
                str(self.folder / "base"))
        out, weights = self.check_folder(lambda path: sentence_transformers.SentenceTransformer(str(path), device="cpu"))
        model = sentence_transformers.SentenceTransformer(str(out), device="cpu")
        self.assertEqual([type(module).__name__ for module in model], ["Transformer", "Pooling", "Normalize"])
        self.assertEqual(model[1].get_config_dict(), sentence_transformers.SentenceTransformer(
            str(self.folder / "base"), device="cpu")[1].get_config_dict())
        self.assertTrue(torch.equal(model[0].auto_model.state_dict()["pooler.dense.weight"], weights["pooler.dense.weight"]))

    def test_two_models_in_one_folder(self):
        """Not one of them in silence: a sentence that names the other."""
        for name, seed in (("base", 0), ("task", 1)):
            tiny.llama().save_pretrained(self.folder / name)
            shutil.copytree(self.folder / name, self.folder / name / "2_Dense")
            (self.folder / name / "modules.json").write_text(
                '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},'
                ' {"idx": 1, "name": "1", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]')
        said = self.emr("merge", "--base", self.folder / "base", f"--task=a={self.folder / 'task'}", "-o", self.folder / "x.emr",
                        status=1)
        self.assertIn("2_Dense", said)


if __name__ == "__main__":
    support.main()
