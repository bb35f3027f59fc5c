"""test_fit.py EMR - permutation specs of transformers' own models: hidden units in a random order change no output, and what
comes out is a folder that loads. With the residual stream too, wherever a head is one that is known."""
import json

import support  # first: it finds the python3 that has the packages
import tiny
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

SHARED = dict(num_attention_heads=4, hidden_size=32, intermediate_size=48)  # heads of 8 dimensions
GROUPED = dict(SHARED, num_key_value_heads=2)
SMALL_IMAGES = dict(SHARED, num_hidden_layers=2, image_size=8, patch_size=4)


def causal(kind, config, **changes):
    return lambda: kind(tiny.text_config(config, **{**GROUPED, **changes}))


def gpt2_config(**changes):
    return hf.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32, bos_token_id=1, eos_token_id=2,
                         pad_token_id=0, **changes)


TRANSFORMERS = {
    "bert": lambda: hf.BertForSequenceClassification(tiny.text_config(hf.BertConfig, **SHARED)),
    "bert, masked words": lambda: hf.BertForMaskedLM(tiny.text_config(hf.BertConfig, **SHARED)),
    "bert, pretraining": lambda: hf.BertForPreTraining(tiny.text_config(hf.BertConfig, **SHARED)),
    "bert, tokens": lambda: hf.BertForTokenClassification(tiny.text_config(hf.BertConfig, **SHARED)),
    "bert, answers": lambda: hf.BertForQuestionAnswering(tiny.text_config(hf.BertConfig, **SHARED)),
    "roberta": lambda: hf.RobertaForSequenceClassification(tiny.text_config(hf.RobertaConfig, **SHARED)),
    "roberta, masked words": lambda: hf.RobertaForMaskedLM(tiny.text_config(hf.RobertaConfig, **SHARED)),
    "gpt2": lambda: hf.GPT2LMHeadModel(gpt2_config()),
    "gpt2, inner width": lambda: hf.GPT2LMHeadModel(gpt2_config(n_inner=40, tie_word_embeddings=False)),
    "gpt2, classes": lambda: hf.GPT2ForSequenceClassification(gpt2_config()),
    "llama": causal(hf.LlamaForCausalLM, hf.LlamaConfig, tie_word_embeddings=False),
    "llama, tied": causal(hf.LlamaForCausalLM, hf.LlamaConfig, tie_word_embeddings=True),
    "llama, biases": causal(hf.LlamaForCausalLM, hf.LlamaConfig, attention_bias=True, mlp_bias=True),
    "llama, classes": causal(hf.LlamaForSequenceClassification, hf.LlamaConfig),
    "mistral": causal(hf.MistralForCausalLM, hf.MistralConfig, head_dim=12),
    "qwen2": causal(hf.Qwen2ForCausalLM, hf.Qwen2Config),
    "qwen3": causal(hf.Qwen3ForCausalLM, hf.Qwen3Config, head_dim=8),
    "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(**SMALL_IMAGES, num_labels=3)),
    "vit, without biases": lambda: hf.ViTForImageClassification(hf.ViTConfig(**SMALL_IMAGES, num_labels=3, qkv_bias=False)),
}


class Block(nn.Module):
    """torchvision's names: a basic block, or one with a bottleneck."""

    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.last = 2 if width == outputs else 3
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        if self.last == 3:
            self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.last + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.last else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, expansion):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8, 8 * expansion, 1), Block(8 * expansion, 8, 8 * expansion, 1))
        self.layer2 = nn.Sequential(Block(8 * expansion, 12, 12 * expansion, 2), Block(12 * expansion, 12, 12 * expansion, 1))
        self.fc = nn.Linear(12 * expansion, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class TimmBlock(nn.Module):
    def __init__(self, width, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 48), "fc2": nn.Linear(48, width)})

    def forward(self, x):
        n, length, width = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width)
        x = x + self.attn["proj"](y)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class TimmViT(nn.Module):
    """timm's names."""

    def __init__(self, width=32, n_heads=4):
        super().__init__()
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 4, 4)})
        self.blocks = nn.Sequential(TimmBlock(width, n_heads), TimmBlock(width, n_heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def answers(model):
    """Everything that the model says to one fixed input."""
    if isinstance(model, (ResNet, TimmViT)):
        with torch.no_grad():
            return [model.eval()(torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8))]
    ids, pixels = torch.arange(4, 24).view(2, 10), torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    given = {"pixel_values": pixels} if hasattr(model.config, "patch_size") else {"input_ids": ids}
    with torch.no_grad():
        return [x for x in model.eval()(**given).to_tuple() if torch.is_tensor(x)]


def inputs(model, seed):
    """Batches enough for second moments to have full rank."""
    dice = torch.Generator().manual_seed(seed)
    if isinstance(model, (ResNet, TimmViT)) or hasattr(model.config, "patch_size"):
        return {"pixel_values": torch.randn(96, 3, 8, 8, generator=dice)}
    return {"input_ids": torch.randint(4, 64, (96, 10), generator=dice)}


def collect(model, path, spec, given, patches=True):
    """What every site of a spec reads, as rows: that of its layers, which must be the same for all of them. Convolutions read
    patches, or pixels. Modules are found by their weights: names in files are not always theirs."""
    sites, hooks, weights = {}, [], support.load_folder(path)
    linear = [m for m in model.modules() if torch.is_tensor(getattr(m, "weight", None)) and not isinstance(m, nn.Embedding)]

    def note(site, module, rows):
        if isinstance(module, nn.Conv2d):
            rows = F.unfold(rows, module.kernel_size, module.dilation, module.padding, module.stride).transpose(1, 2) \
                if patches else rows.permute(0, 2, 3, 1)
        rows = rows.detach().double().reshape(-1, rows.shape[-1])
        assert site not in sites or torch.equal(sites[site], rows), f"{site}: layers read different things"
        sites[site] = rows

    for layer in spec["layers"]:
        weight = weights[layer["weight"]]
        module, = (m for m in linear if m.weight.shape == weight.shape and torch.equal(m.weight, weight))
        hooks.append(module.register_forward_pre_hook(lambda m, args, site=layer["site"]: note(site, m, args[0])))
    with torch.no_grad():
        model.eval()(*given.values()) if isinstance(model, (ResNet, TimmViT)) else model.eval()(**given)
    for hook in hooks:
        hook.remove()
    assert sites
    return sites


def save_gram(path, *models):
    """Sums of products of what models read at their sites, as docs/fitting.md has them."""
    sums, metadata = {}, {"format": "emr-gram", "version": "1"}
    for site in models[0]:
        z = torch.cat([*(sites[site] for sites in models), torch.ones(len(models[0][site]), 1, dtype=torch.float64)], 1)
        s = z.T @ z
        sums[f"{site}.gram"] = s[tuple(torch.triu_indices(len(s), len(s)))].contiguous()
        metadata[f"widths.{site}"] = ",".join(str(sites[site].shape[1]) for sites in models)
    save_file(sums, path, metadata)
    return path


def stir(model):
    """Weights large enough for every unit to matter, and statistics that are not 0 and 1."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and not name.endswith("inv_freq"):
                tensor.add_(0.15 * torch.randn(tensor.shape))
    return model.eval()


class Permuted(support.Suite):
    def permuted(self, path, *options):
        out = self.folder / "permuted"
        self.emr("fit", "permute", path, "--random", 7, "-o", f"{out}/", "--force", *options)
        return out

    def assert_near(self, got, wanted, what):
        self.assertTrue(wanted and len(got) == len(wanted), what)
        for x, y in zip(got, wanted):
            self.assertGreater(float(y.std()), 1e-3, f"{what}: answers that are all alike")
            self.assertLessEqual(float((x - y).abs().max()), 1e-5 * max(1, float(y.abs().max())), what)

    def moved(self, path, out):
        """Names of the tensors that are in another order now."""
        before, after = support.load_folder(path), support.load_folder(out)
        names = [name for name in before if not torch.equal(before[name], after[name])]
        self.assertTrue(names)
        return names

    def check_transformer(self, name, *options):
        model = stir(TRANSFORMERS[name]())
        path = self.folder / "model"
        model.save_pretrained(path)
        out = self.permuted(path, *options)
        again, info = type(model).from_pretrained(out, output_loading_info=True)
        self.assertFalse(any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info)
        self.assert_near(answers(again), answers(model), name)
        return self.moved(path, out)

    def check_torch(self, model, config, *options):
        path = self.folder / "model"
        path.mkdir()
        save_file(stir(model).state_dict(), path / "model.safetensors", {"format": "pt"})
        if config:
            (path / "config.json").write_text(config)
        wanted, out = answers(model), self.permuted(path, *options)
        model.load_state_dict(load_file(out / "model.safetensors"))
        self.assert_near(answers(model), wanted, type(model).__name__)
        self.moved(path, out)

    def made(self, name, seed=1):
        """A model of that name, and its folder."""
        torch.manual_seed(seed)
        path = self.folder / f"{name}-{seed}"
        if name in TRANSFORMERS:
            model = stir(TRANSFORMERS[name]())
            model.save_pretrained(path)
            return model, path
        model = stir({"resnet": lambda: ResNet(1), "bottleneck": lambda: ResNet(4), "timm vit": TimmViT}[name]())
        path.mkdir()
        save_file(model.state_dict(), path / "model.safetensors", {"format": "pt"})
        (path / "config.json").write_text('{"num_heads": 4}')
        return model, path

    def loaded(self, name, like, path):
        if name in TRANSFORMERS:
            return type(like).from_pretrained(path)
        again = ResNet(4) if name == "bottleneck" else type(like)(1) if name == "resnet" else TimmViT()
        again.load_state_dict(load_file(path / "model.safetensors"))
        return again.eval()

    def spec(self, path):
        self.emr("fit", "spec", path, "-o", self.folder / "spec.json", "--force")
        return json.loads((self.folder / "spec.json").read_text())

    def test_activations_find_the_order(self):
        """By what units do, of a model and the same in a random order: sites are where the spec says, unit by unit."""
        for name in (*TRANSFORMERS, "resnet", "bottleneck", "timm vit"):
            with self.subTest(name):
                model, path = self.made(name)
                out, spec, found = self.permuted(path), self.spec(path), self.folder / "found"
                given = inputs(model, 2)
                gram = save_gram(self.folder / "gram.safetensors", collect(model, path, spec, given, patches=False),
                                 collect(self.loaded(name, model, out), out, spec, given, patches=False))
                report = json.loads(self.emr("fit", "match", path, out, "--gram", gram, "--similarity", "correlation", "--aligned",
                                             f"{found}/", "--force", "--json"))
                self.assertEqual(report["matched"]["groups"], len(spec["groups"]))
                self.assert_same(support.load_folder(found), support.load_folder(path), name)

    def test_regmean_of_real_layers(self):
        """Every layer is what the formula makes of its own inputs: fused, transposed, shared sites, convolutions over patches."""
        for name in ("bert", "roberta", "gpt2", "llama, biases", "qwen3", "vit", "resnet", "bottleneck", "timm vit"):
            with self.subTest(name):
                models, paths = zip(*(self.made(name, seed) for seed in (1, 2)))
                spec, words, sites = self.spec(paths[0]), [], []
                for i, (model, path) in enumerate(zip(models, paths)):
                    sites.append(collect(model, path, spec, inputs(model, 3 + i)))
                    words += ["--task", f"{i}={path}", "--gram", f"{i}={save_gram(self.folder / f'{i}.safetensors', sites[i])}"]
                self.emr("fit", "regmean", *words, "-o", f"{self.folder / 'merged'}/", "--force")
                merged, own = (support.load_folder(self.folder / "merged"), [support.load_folder(path) for path in paths])
                for layer in spec["layers"]:
                    weights = [w[layer["weight"]].double() for w in own]
                    weights = [w if layer.get("input_axis", 1) == 0 else w.flatten(1).T for w in weights]
                    moments = [s[layer["site"]].T @ s[layer["site"]] / len(s[layer["site"]]) for s in sites]
                    moments = [0.9 * g + 0.1 * torch.diag(torch.diag(g)) for g in moments]
                    mean = sum(weights) / 2  # which inputs that never fire keep
                    change = torch.linalg.pinv(sum(moments), hermitian=True, rtol=1e-12)
                    wanted = mean + change @ sum(g @ (w - mean) for g, w in zip(moments, weights))
                    got = merged[layer["weight"]].double()
                    got = got if layer.get("input_axis", 1) == 0 else got.flatten(1).T
                    self.assertLess(float((got - wanted).abs().max()), 1e-5, f"{name}: {layer['weight']}")

    def test_pleas_of_convolutions(self):
        """Units are matched by pixels, convolutions solved over patches: of a network and the same in a random order, that network."""
        model, path = self.made("bottleneck")
        out, spec, given, grams = self.permuted(path), self.spec(path), inputs(model, 2), {}
        for kind in (False, True):
            grams[kind] = save_gram(self.folder / f"{kind}.safetensors",
                                    *(collect(self.loaded("bottleneck", model, p), p, spec, given, kind) for p in (path, out)))
        order, merged = self.folder / "order.safetensors", self.folder / "merged"
        self.emr("fit", "match", path, out, "--gram", grams[False], "-o", order)
        self.emr("fit", "pleas", path, out, "--gram", grams[True], "--permutation", order, "-o", f"{merged}/")
        self.assert_near(answers(self.loaded("bottleneck", model, merged)), answers(model), "PLeaS")

    def test_heads_that_nobody_knows(self):
        """What reads the residual stream in a way that is not known would compute something else: it is refused."""
        hf.ViTForMaskedImageModeling(hf.ViTConfig(**SMALL_IMAGES, encoder_stride=4)).save_pretrained(self.folder / "masked")
        model = ResNet(1)
        weights = {**model.state_dict(), "layer1.0.se.weight": torch.randn(8, 8)}
        save_file(weights, self.folder / "squeezed.safetensors")
        for path, tensor, options in (("masked", "decoder.0.weight", ["--residual"]), ("squeezed.safetensors", "se.weight", [])):
            words = ["fit", "permute", self.folder / path, "--random", 1, "-o", self.folder / "out", *options]
            self.assertRegex(self.emr(*words, status=1), f"is not known: '.*{tensor}'|is not known: '.*mask_token'")
        self.permuted(self.folder / "masked")

    def test_there_and_back(self):
        """--inverse undoes it, to the bit; the folder's other files come along."""
        path = self.folder / "model"
        TRANSFORMERS["qwen3"]().save_pretrained(path)
        tiny.tokenizer(1).save_pretrained(path)
        out, again = self.permuted(path, "--shard-size", "20KB"), self.folder / "again"
        self.emr("fit", "permute", out, "--random", 7, "--inverse", "-o", f"{again}/")
        self.assert_same(support.load_folder(again), support.load_folder(path))
        self.assertEqual(hf.AutoTokenizer.from_pretrained(again)("fox").input_ids,
                         hf.AutoTokenizer.from_pretrained(path)("fox").input_ids)

    def test_matching_finds_the_order(self):
        """By weights, of a model and the same in a random order: B in A's order is A."""
        for name in ("bert", "gpt2", "llama", "vit"):
            with self.subTest(name):
                path, found = self.folder / name, self.folder / f"{name}-found"
                stir(TRANSFORMERS[name]()).save_pretrained(path)
                self.emr("fit", "match", path, self.permuted(path), "--aligned", f"{found}/")
                self.assert_same(support.load_folder(found), support.load_folder(path))

    def test_pleas_widens_hidden_layers(self):
        """Both side by side, in a folder that loads, with config.json that says how wide it is now."""
        for name, key in (("llama", "intermediate_size"), ("gpt2", "n_inner"), ("bert", "intermediate_size")):
            with self.subTest(name):
                path, out = self.folder / f"{name}-a", self.folder / f"{name}-out"
                model = stir(TRANSFORMERS[name]())
                model.save_pretrained(path)
                before = getattr(model.config, key) or 4 * model.config.n_embd
                self.emr("fit", "pleas", path, self.permuted(path), "--pairs", "*=100%", "--pairs", "*mlp=25%", "-o", f"{out}/")
                again, info = type(model).from_pretrained(out, output_loading_info=True)
                self.assertFalse(any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info)
                self.assertEqual(getattr(again.config, key), before * 7 // 4)
                self.assert_near(answers(again), answers(model), name)


def add_tests():
    for name in TRANSFORMERS:
        for options in ([], ["--residual"]):
            def test(self, name=name, options=options):
                moved = self.check_transformer(name, *options)
                self.assertEqual(any("embed" in tensor or "wte" in tensor for tensor in moved), bool(options))
            words = "_".join(name.replace(",", "").split()) + ("_with_its_residual_stream" if options else "")
            setattr(Permuted, f"test_{words}", test)
    for expansion, words in ((1, "basic"), (4, "bottleneck")):
        setattr(Permuted, f"test_resnet_{words}", lambda self, n=expansion: self.check_torch(ResNet(n), None))
    for options, words in (([], ""), (["--residual"], "_with_its_residual_stream")):
        setattr(Permuted, f"test_timm_vit{words}",
                lambda self, options=options: self.check_torch(TimmViT(), '{"num_heads": 4}', *options))


add_tests()

if __name__ == "__main__":
    support.main()
