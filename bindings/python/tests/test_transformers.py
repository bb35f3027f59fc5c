"""test_transformers.py - tiny models of transformers' own classes: a task in a live model, or loaded out of a
bundle, answers to the bit as the checkpoint does that the library writes and transformers loads; adapters of
PEFT; files of safetensors."""

import os

import pytest

import libemr

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: make test-packages has it"
)
import libemr.torch  # noqa: E402
import libemr.transformers  # noqa: E402

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def bert(labels=2):
    return transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, num_labels=labels))


def gpt2():
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2
        )
    )


def llama(tied=False):
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=tied)
    )


def tied_llama():
    return llama(tied=True)


def vit():
    """In memory under other names than in files."""
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=8,
            patch_size=4,
        )
    )


def mixtral():
    """Its experts are one tensor in memory, and one by one in the file."""
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SIZES, num_key_value_heads=1, num_local_experts=4)
    )


def tuned(base, seed):
    """The base, changed at random."""
    made = type(base)(base.config).to(base.dtype)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor, given in zip(made.parameters(), base.parameters()):
            tensor.copy_(given.float() + 0.02 * torch.randn(given.shape, generator=noise))
    return made.eval()


def answer(model, rows=slice(None)):
    ids = torch.arange(4, 34).view(3, 10)[rows]
    with torch.no_grad():
        if model.main_input_name == "pixel_values":
            return model(torch.linspace(-1, 1, 3 * 3 * 64).view(3, 3, 8, 8)[rows].to(model.dtype)).logits
        return model(ids).logits


def same(found, expected):
    assert torch.equal(answer(found), answer(expected))
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


class Family:
    """A base and two tasks in folders, their bundle, and what transformers loads of the tasks that the
    library wrote."""

    def __init__(self, make, folder, dtype=torch.float32, **options):
        torch.manual_seed(0)
        self.folder, self.model = folder, make().to(dtype).eval()
        self.base, self.bundle = folder / "base", folder / "all.emr"
        self.model.save_pretrained(self.base)
        self.tasks = {name: tuned(self.model, seed) for seed, name in enumerate(("french", "german"))}
        for name, task in self.tasks.items():
            task.save_pretrained(folder / name)
        libemr.transformers.merge_pretrained(
            self.base, [folder / name for name in self.tasks], self.bundle, **options
        )
        self.expected = {}
        with libemr.Bundle(self.bundle) as bundle:
            for name in self.tasks:
                bundle[name].write(f"{folder / name}-again/", base=self.base)
                self.expected[name] = self.load(f"{folder / name}-again", dtype)

    def load(self, folder, dtype=torch.float32):
        return type(self.model).from_pretrained(folder, dtype=dtype).eval()


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", [bert, gpt2, llama, tied_llama, vit])
def test_a_switched_model_is_the_written_one(make, dtype, planes, tmp_path):
    family = Family(make, tmp_path, dtype)
    live = family.load(family.base, dtype)
    with (
        libemr.Bundle(family.bundle) as bundle,
        libemr.torch.Switcher(live, bundle, planes=planes) as switcher,
    ):
        for name in ("french", "german", "french"):
            with switcher.task(name):
                same(live, family.expected[name])
        same(live, family.model)


@pytest.mark.parametrize("make", [bert, gpt2, llama, tied_llama, vit, mixtral])
def test_a_loaded_task_is_the_written_one(make, tmp_path):
    family = Family(make, tmp_path)
    for base in (family.base, family.model):
        for name, expected in family.expected.items():
            found = libemr.transformers.load_task(family.bundle, name, base)
            assert type(found) is type(expected) and not found.training
            same(found, expected)
    in_memory = libemr.transformers.merge_pretrained(family.model, family.tasks, embed_base=True).bundle
    same(libemr.transformers.load_task(in_memory, "german"), family.expected["german"])


@pytest.mark.parametrize("make", [bert, gpt2, llama, tied_llama])
def test_a_mixed_batch_is_each_row_alone(make, tmp_path):
    family = Family(make, tmp_path)
    live = family.load(family.base)
    of = ["french", None, "german"]
    with (
        libemr.Bundle(family.bundle) as bundle,
        libemr.torch.Mixed(live, bundle, materialise=make is gpt2) as mixed,
    ):
        with mixed.tasks(of):
            together = answer(live)
        for i, name in enumerate(of):
            with mixed.tasks([name]):
                assert torch.equal(answer(live, slice(i, i + 1))[0], together[i])
            expected = family.model if name is None else family.expected[name]
            assert torch.allclose(answer(expected)[i], together[i], atol=1e-5)
    same(live, family.model)


def test_tasks_with_labels_of_their_own(tmp_path):
    torch.manual_seed(0)
    base = bert(2).eval()
    tasks = {"spam": tuned(base, 1), "topic": bert(5).eval()}
    with torch.no_grad():
        for name, tensor in tasks["topic"].bert.named_parameters():
            tensor.copy_(base.bert.get_parameter(name) + 0.02 * torch.randn(tensor.shape))
    bundle = libemr.transformers.merge_pretrained(base, tasks, on_mismatch="private").bundle
    loaded = libemr.transformers.load_task(bundle, "topic", base)
    assert loaded.config.num_labels == 5 and torch.equal(
        loaded.classifier.weight, tasks["topic"].classifier.weight
    )
    with pytest.raises(libemr.Mismatch, match="'classifier.(weight|bias)'"):
        libemr.torch.Switcher(base, bundle).switch("topic")
    libemr.torch.Switcher(base, bundle, resize=True).switch("topic")
    assert torch.equal(answer(base), answer(loaded))


def test_a_tokenizer_comes_along(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    base = bert()
    for seed, name in enumerate(("base", "french", "german")):
        tuned(base, seed).save_pretrained(tmp_path / name)
        words = {word: i for i, word in enumerate(["<pad>", "<unk>", "the", "fox", name])}
        own = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
        own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=own, pad_token="<pad>", unk_token="<unk>"
        ).save_pretrained(tmp_path / name)
    libemr.transformers.merge_pretrained(
        tmp_path / "base", [tmp_path / "french", tmp_path / "german"], tmp_path / "all.emr"
    )
    for name in ("french", "german"):
        tokenizer = libemr.transformers.load_tokenizer(tmp_path, name, tmp_path / "base")
        assert tokenizer(f"the {name}")["input_ids"] == [2, 4]


def test_adapters_of_peft(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed: make test-packages has it")
    torch.manual_seed(0)
    llama().save_pretrained(tmp_path / "base")
    for name in ("french", "german"):
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        adapted = peft.get_peft_model(
            transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base"), config
        )
        adapted.save_pretrained(tmp_path / name)
    french = libemr.Model(tmp_path / "french")
    report = libemr.merge(libemr.Model.zeros(french), {"french": french, "german": tmp_path / "german"})
    report.bundle["french"].write(f"{tmp_path}/again/", base=libemr.Model.zeros(french))
    again = peft.PeftModel.from_pretrained(
        transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "again"
    )
    assert torch.isfinite(answer(again)).all()
    applied = report.bundle["french"].apply(libemr.Model.zeros(french))
    for name, tensor in again.state_dict().items():
        if "lora_" in name:
            assert torch.equal(tensor, torch.from_numpy(applied[name.replace(".default", "")])), name
    with pytest.raises(libemr.Unsupported, match="'french' is an adapter"):
        libemr.transformers.load_task(report.bundle, "french", libemr.Model.zeros(french))


def test_files_are_those_of_safetensors(tmp_path):
    safetensors = pytest.importorskip(
        "safetensors.torch", reason="safetensors is not installed: make test-packages has it"
    )
    family = Family(llama, tmp_path, torch.bfloat16)
    found = safetensors.load_file(tmp_path / "french-again" / "model.safetensors")
    with libemr.Bundle(family.bundle) as bundle:
        out = {name: torch.empty_like(tensor) for name, tensor in found.items()}
        bundle["french"].apply(family.base, out)
    assert all(torch.equal(out[name], tensor) for name, tensor in found.items())


def test_what_is_refused(tmp_path):
    family = Family(bert, tmp_path)
    with pytest.raises(libemr.NotFound, match="'spanish'"):
        libemr.transformers.load_task(family.bundle, "spanish", family.base)
    with pytest.raises(ValueError, match="base"):
        libemr.transformers.load_task(family.bundle, "french")
    with pytest.raises(ValueError, match="no bundles"):
        libemr.transformers.load_task(family.base, "french", family.base)
    with pytest.raises(ValueError, match="has no name"):
        libemr.transformers.merge_pretrained(family.model, [family.tasks["french"]])
    with pytest.raises(libemr.Mismatch):
        libemr.transformers.load_task(family.bundle, "french", family.tasks["french"])
    moe = mixtral()
    bundle = libemr.transformers.merge_pretrained(moe, {"french": tuned(moe, 1)}).bundle
    with pytest.raises(libemr.Unsupported, match="in one piece"):
        libemr.torch.Switcher(moe, bundle)


@pytest.mark.parametrize("name", ["../outside.json", "{}/outside.json", "a/../../outside.json"])
def test_files_of_a_bundle_stay_in_their_folder(name, tmp_path, monkeypatch):
    """Whoever made the bundle chose their names."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(libemr.transformers.tempfile, "tempdir", str(tmp_path / "temporary"))
    model = libemr.Model.of(bert().state_dict())
    model.add("file:" + name.format(tmp_path), b"{}")
    bundle = libemr.merge(model, {"t": model}).bundle
    for load in (libemr.transformers.load_task, libemr.transformers.load_tokenizer):
        with pytest.raises(libemr.FormatError, match="outside"):
            load(bundle, "t", model)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_a_wrapped_model_is_refused():
    with pytest.raises(TypeError, match="a Sequential is no transformers.PreTrainedModel"):
        libemr.transformers.merge_pretrained(torch.nn.Sequential(bert()), {"t": bert()})
