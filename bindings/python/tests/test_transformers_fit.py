"""test_transformers_fit.py - libemr.fit.torch on transformers' own modules, whose names are not always those
of their files: what layers read, RegMean by the formula, and a copy in another order that is found out."""

import copy

import pytest

import libemr

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")
hf = pytest.importorskip("transformers", reason="transformers is not installed: make test-packages has it")
import libemr.fit.torch as ft  # noqa: E402
from libemr import fit  # noqa: E402

torch.set_num_threads(1)

SMALL = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
TEXT = {**SMALL, "vocab_size": 64, "max_position_embeddings": 16, "pad_token_id": 0}
MODELS = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**TEXT)),
    "vit": lambda: hf.ViTForImageClassification(
        hf.ViTConfig(**SMALL, image_size=8, patch_size=4, num_labels=3)
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(
            vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=16, bos_token_id=1, eos_token_id=2
        )
    ),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT, num_key_value_heads=2)),
}


def made(kind, seed):
    torch.manual_seed(seed)
    module = MODELS[kind]()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.add_(0.15 * torch.randn(tensor.shape))
    return module.eval()


def batches(kind, seed, n=4):
    """Texts of several lengths, padded."""
    dice, found = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        if kind == "vit":
            found.append({"pixel_values": torch.randn(24, 3, 8, 8, generator=dice)})
            continue
        ids = torch.randint(4, 64, (24, 10), generator=dice)
        mask = (torch.arange(10) < torch.randint(3, 11, (24, 1), generator=dice)).long()
        found.append({"input_ids": ids * mask, "attention_mask": mask})
    return found


def outputs(module, given):
    with torch.no_grad():
        return [module.eval()(**batch).logits for batch in given]


def permuted(module, seed=3):
    model, other = ft.model_of(module), copy.deepcopy(module)
    spec = fit.PermutationSpec.derive(model)
    libemr.torch.load_into(other, fit.Permutation.random(spec, seed).apply(model))
    return other


def assert_near(got, wanted, given):
    """Of texts, what padding says does not count."""
    for x, y, batch in zip(got, wanted, given):
        if x.dim() == 3 and "attention_mask" in batch:
            x, y = x[batch["attention_mask"] > 0], y[batch["attention_mask"] > 0]
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", MODELS)
def test_a_permuted_copy_is_found_out(kind, tmp_path):
    a, given = made(kind, 1), batches(kind, 2)
    b, wanted = permuted(a), outputs(a, given)
    for merged in (ft.match(a, b, given), ft.match(a, b), ft.mudsc(a, b, given, zip=True, within=0.0)):
        target = made(kind, 7)
        merged.load_into(target)
        assert_near(outputs(target, given), wanted, given)
    merged = ft.match(a, b, given)
    for name, tensor in ft.model_of(a).items():
        assert tensor.read_bytes() == merged.aligned[name].read_bytes(), name
    merged.model.write(f"{tmp_path}/merged/")
    again, info = type(a).from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_near(outputs(again, given), wanted, given)


@pytest.mark.parametrize("kind", ["bert", "vit", "gpt2"])
def test_regmean_is_the_formula(kind):
    """Of one layer in the middle: what the module before it gives, by a hook of its own."""
    nets, given = [made(kind, 1), made(kind, 2)], [batches(kind, 3), batches(kind, 4)]
    weight, module, axis = {
        "bert": ("bert.encoder.layer.1.output.dense.weight", "bert.encoder.layer.1.output.dense", 1),
        "vit": ("vit.encoder.layer.1.output.dense.weight", None, 1),
        "gpt2": ("transformer.h.1.mlp.c_proj.weight", "transformer.h.1.mlp.c_proj", 0),
    }[kind]
    moments, weights = [], []
    for net, own in zip(nets, given):
        w = torch.empty(ft.model_of(net)[weight].shape)
        ft.model_of(net)[weight].read(w)
        layer = net.get_submodule(module) if module else next(m for m in net.modules() if _has(m, w))
        read = []
        hook = layer.register_forward_pre_hook(lambda m, args, read=read: read.append(args[0]))
        outputs(net, own)
        hook.remove()
        if kind != "vit":
            read = [x[batch["attention_mask"] > 0] for x, batch in zip(read, own)]
        x = torch.cat([x.reshape(-1, x.shape[-1]) for x in read]).double()
        g = x.T @ x / len(x)
        moments.append(0.9 * g + 0.1 * torch.diag(torch.diag(g)))
        weights.append(w.double().T if axis else w.double())
    wanted = torch.linalg.solve(sum(moments), sum(g @ w for g, w in zip(moments, weights)))
    got = torch.empty(w.shape)
    ft.regmean(nets, given).model[weight].read(got)
    torch.testing.assert_close(got.double().T if axis else got.double(), wanted, rtol=1e-4, atol=1e-5)


def _has(module, weight):
    found = getattr(module, "weight", None)
    return found is not None and found.shape == weight.shape and torch.equal(found, weight)


def test_what_padding_says_does_not_matter():
    """Only the sum with the mask is the same for other padding."""
    net, given = made("bert", 1), batches("bert", 2)
    other = [{**b, "input_ids": b["input_ids"] + (1 - b["attention_mask"]) * 9} for b in given]
    site = "bert.encoder.layer.0.output.dense"

    def gram(batches, keep=None):
        found = libemr.Gram()
        with found.watch(net, sites=[site], keep=keep), torch.no_grad():
            for batch in batches:
                net(**batch)
        return torch.as_tensor(found.matrix(site))

    n_tokens = sum(int(batch["attention_mask"].sum()) for batch in given)
    assert gram(given)[-1, -1] == gram(other)[-1, -1] == n_tokens
    torch.testing.assert_close(gram(given), gram(other), rtol=1e-4, atol=1e-4)
    assert float((gram(given, keep=False) - gram(other, keep=False)).abs().max()) > 1
    assert gram(given, keep=False)[-1, -1] == 4 * 240


@pytest.mark.parametrize("kind, width", [("llama", 48), ("gpt2", 128), ("bert", 48)])
def test_wider_hidden_layers_are_both_side_by_side(kind, width, tmp_path):
    a, given = made(kind, 1), batches(kind, 2)
    merged = ft.pleas(a, permuted(a), given, pairs={"*mlp": 0.25})
    assert set(merged.widths.values()) == {width * 7 // 4}
    with pytest.raises(libemr.Mismatch, match="wider now"):
        merged.load_into(copy.deepcopy(a))
    merged.model.write(f"{tmp_path}/wider/")
    wider, info = type(a).from_pretrained(tmp_path / "wider", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_near(outputs(wider, given), outputs(a, given), given)
    again = type(a)(wider.config)
    merged.load_into(again)
    assert all(torch.equal(x, y) for x, y in zip(again.state_dict().values(), wider.state_dict().values()))


def test_layers_that_differ_in_width_are_in_no_configuration(tmp_path):
    a, given = made("bert", 1), batches("bert", 2)
    merged = ft.pleas(a, permuted(a), given, pairs={"*layer.0.mlp": 0.25})
    config = bytes(merged.model["file:config.json"].read_bytes())
    assert config == bytes(ft.model_of(a)["file:config.json"].read_bytes())


def test_bfloat16():
    a, given = made("bert", 1).bfloat16(), batches("bert", 2)
    b = permuted(a)
    merged = ft.match(a, b, given)
    assert merged.model["classifier.weight"].dtype.name == "BF16"
    target = made("bert", 5).bfloat16()
    merged.load_into(target)
    assert all(torch.equal(x, y) for x, y in zip(target.state_dict().values(), a.state_dict().values()))
