#!/usr/bin/env python3
"""mergekit.py - recipes by mergekit and by `emr combine --config`, side by side: prints the table of docs/recipes.md.

    pip install mergekit==0.1.5 peft
    python bench/peers/mergekit.py build/tools/emr/emr [RECIPE...]

Llama models of 4 layers and width 16 are made in a folder that is removed afterwards (--keep: in ./mergekit-recipes, which
stays). Nothing is downloaded. The exit status is 1 where a recipe fails on either side, or tensors differ by more than 1e-6
(in half precision 1e-2), or in name, shape or dtype. --time makes models of SIZE parameters instead, and tells what both
programs take: time and peak memory of linear, task_arithmetic and ties with 8 tasks.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.pop(0)  # its folder, where "mergekit" would be this file
os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")


def recipe(method, *models, base=None, more=""):
    """models: a name, or a name and its parameters."""
    lines = [f"merge_method: {method}", *[f"base_model: {base}"] * bool(base), "models:"]
    for model in models:
        name, parameters = model if isinstance(model, tuple) else (model, None)
        lines += [f"- model: {name}", *[f"  parameters: {{{parameters}}}"] * bool(parameters)]
    return "\n".join(lines) + "\n" + more


def parameters(text):
    return f"parameters: {{{text}}}\n"


GRADIENTS = (("a", "density: 0.5, weight: 0.5"), ("b", "density: [0.3, 0.9], weight: 1"), ("c", "density: 0.33, weight: [0.1, 0.2, 0.7, 1]"))
CRUMBS = (("a", "density: 0.5, weight: 0.5, gamma: 0.02"), ("b", "density: 0.7, weight: 1"))
PAIR = (("a", "weight: 0.6"), ("b", "weight: 0.9"))
DROPS = (("a", "weight: 1"), ("b", "weight: 0.5"))
SLERP_IN_SLICES = """merge_method: slerp
base_model: base
slices:
- sources: [{model: base, layer_range: [0, 4]}, {model: a, layer_range: [0, 4]}]
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - value: 0.5
"""
STACK = """merge_method: passthrough
slices:
- sources: [{model: a, layer_range: [0, 3]}]
- sources: [{model: b, layer_range: [1, 4]}]
- sources:
  - model: c
    layer_range: [3, 4]
    parameters: {scale: [{filter: o_proj, value: 0}, {filter: down_proj, value: 0}, {value: 1}]}
dtype: bfloat16
"""
TWO_SLICES = """merge_method: linear
slices:
- sources:
  - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
  - {model: b, layer_range: [2, 4], parameters: {weight: [0.2, 0.8]}}
- sources: [{model: c, layer_range: [1, 4], parameters: {weight: 1}}]
  parameters: {normalize: false}
parameters: {normalize: true}
"""
BASE_IN_SLICES = """merge_method: task_arithmetic
base_model: base
slices:
- sources: [{model: base, layer_range: [0, 4]}, {model: a, layer_range: [0, 4], parameters: {weight: [0.3, 0.9]}}]
"""
MODULES = """merge_method: linear
modules:
  default:
    models: [{model: a, parameters: {weight: 1}}, {model: b}]
    parameters: {weight: {filter: mlp, value: 3}}
parameters: {weight: 2}
"""
SIX_AND_FOUR = """merge_method: passthrough
slices:
- sources: [{model: six, layer_range: [0, 6]}]
- sources: [{model: a, layer_range: [0, 4]}]
"""
RECIPES = {
    "linear, two models": recipe("linear", ("a", "weight: 1"), ("b", "weight: 0.3"), more="dtype: float32\n"),
    "linear, base added, a gradient, `normalize: false`":
        recipe("linear", ("a", "weight: [0, 1]"), "b", base="base", more=parameters("weight: 0.5, normalize: false")),
    "linear of BF16": recipe("linear", ("a16", "weight: 1"), ("base16", "weight: 0.3")),
    "linear of BF16 and F32": recipe("linear", ("a16", "weight: 1"), ("b", "weight: 0.3")),
    "task_arithmetic, gradients by filter, `lambda`":
        recipe("task_arithmetic", ("a", "weight: 0.6"), ("b", "weight: [{filter: mlp, value: [0, 0.5, 1]}, {value: 0.2}]"),
               base="base", more=parameters("lambda: 0.7")),
    "task_arithmetic, `out_dtype: bfloat16`":
        recipe("task_arithmetic", ("a", "weight: 0.6"), ("b", "weight: 1"), base="base", more="dtype: float32\nout_dtype: bfloat16\n"),
    "task_arithmetic, `dtype: float16`":
        recipe("task_arithmetic", ("a", "weight: 0.6"), ("b", "weight: 1"), base="base", more="dtype: float16\n"),
    "ties, densities and weights as gradients, `int8_mask`":
        recipe("ties", "base", *GRADIENTS, base="base", more=parameters("normalize: true, int8_mask: true") + "dtype: float32\n"),
    "ties, a negative weight, `rescale: true`":
        recipe("ties", ("a", "density: 0.29, weight: -0.5"), ("b", "density: 0.7, weight: 1"), base="base",
               more=parameters("normalize: false, rescale: true")),
    "breadcrumbs, `gamma`": recipe("breadcrumbs", *CRUMBS, base="base"),
    "breadcrumbs, `rescale: true`": recipe("breadcrumbs", *CRUMBS, base="base", more=parameters("rescale: true")),
    "breadcrumbs_ties": recipe("breadcrumbs_ties", *CRUMBS, base="base"),
    "breadcrumbs_ties, `rescale: true`": recipe("breadcrumbs_ties", *CRUMBS, base="base", more=parameters("rescale: true")),
    "slerp in slices, `t` by filter": SLERP_IN_SLICES,
    "slerp of two models": recipe("slerp", "a", "b", base="a", more=parameters("t: 0.25") + "dtype: float32\n"),
    "nuslerp on task vectors, a gradient": recipe("nuslerp", ("a", "weight: 0.6"), ("b", "weight: [0.1, 0.9]"), base="base"),
    "nuslerp, `nuslerp_row_wise`": recipe("nuslerp", *PAIR, more=parameters("nuslerp_flatten: false, nuslerp_row_wise: true")),
    "nuslerp, `nuslerp_flatten: false`": recipe("nuslerp", *PAIR, more=parameters("nuslerp_flatten: false")),
    "multislerp, three models": recipe("multislerp", *PAIR, ("c", "weight: 0.2")),
    "multislerp on task vectors": recipe("multislerp", *PAIR, ("c", "weight: 0.2"), base="base"),
    "karcher, three models": recipe("karcher", "a", "b", "c"),
    "model_stock": recipe("model_stock", "a", "b", "c", base="base"),
    "model_stock, `filter_wise`": recipe("model_stock", "a", "b", "c", base="base", more=parameters("filter_wise: true")),
    "sce, `select_topk` as a gradient": recipe("sce", "a", "b", "c", base="base", more=parameters("select_topk: [0.3, 1.0]")),
    "nearswap": recipe("nearswap", "a", base="base", more=parameters("t: 0.01")),
    "arcee_fusion": recipe("arcee_fusion", "a", base="base"),
    "ram": recipe("ram", "a", "b", base="base", more=parameters("epsilon: 0.02")),
    "ramplus_tl": recipe("ramplus_tl", "a", "b", base="base", more=parameters("epsilon: 0.02, r: 0.2, alpha: 0.3")),
    "passthrough, three models stacked, `scale` by filter, `dtype: bfloat16`": STACK,
    "linear in two slices, layers of different numbers": TWO_SLICES,
    "task_arithmetic in slices": BASE_IN_SLICES,
    "linear under `modules`, filters": MODULES,
    "linear, one head tied": recipe("linear", ("tied", "weight: 1"), ("a", "weight: 1"), base="tied"),
    "task_arithmetic, MODEL+ADAPTER": recipe("task_arithmetic", ("base+lora", "weight: 1"), ("b", "weight: 0.5"), base="base"),
    "passthrough of models of 6 and 4 layers": SIX_AND_FOUR,
    "dare_ties, density 1": recipe("dare_ties", *DROPS, base="base"),
    "dare_linear, density 1": recipe("dare_linear", *DROPS, base="base"),
    "della, density 1": recipe("della", ("a", "weight: 1, density: 1, epsilon: 0.1"), ("b", "weight: 0.5"), base="base"),
}


# ---- models

def make_model(name, seed, base=None, layers=4, tied=False, dtype="float32", shape=(32, 16, 24)):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    words, width, inner = shape
    model = LlamaForCausalLM(LlamaConfig(vocab_size=words, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                                         num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied,
                                         max_position_embeddings=32))
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            if base is not None:
                p.copy_(base.get_parameter(parameter_name) + 0.02 * torch.randn(p.shape))
            elif p.ndim == 1:
                p.add_(0.1 * torch.randn(p.shape))
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(name)
    return model


def make_adapter(name):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM
    model = get_peft_model(LlamaForCausalLM.from_pretrained("base"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            if "lora" in parameter_name:
                p.copy_(0.1 * torch.randn(p.shape))
    model.save_pretrained(name)


def make_models():
    base = make_model("base", 0)
    for seed, name in enumerate("abc", 1):
        make_model(name, seed, base)
    make_model("base16", 0, dtype="bfloat16")
    make_model("a16", 1, base, dtype="bfloat16")
    make_model("tied", 5, tied=True)
    make_model("six", 6, layers=6)
    make_adapter("lora")


# ---- the two programs

def by_mergekit(file, out):
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
    config = MergeConfiguration.model_validate(yaml.safe_load(pathlib.Path(file).read_text()))
    run_merge(config, out, MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False, lora_merge_cache="cache"))


def tensors_of(folder):
    from safetensors.torch import load_file
    return {n: t for f in sorted(pathlib.Path(folder).glob("*.safetensors")) for n, t in load_file(f).items()}


def difference(x, y):
    """The largest, relative to the largest value; no number where they cannot be compared."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return float("inf")
    apart, size = (x.double() - y.double()).abs().max().item(), x.double().abs().max().item()
    return apart / size if size else apart


def compared(emr, name):
    """(equal tensors, all, the largest difference), or a sentence."""
    for folder in ("theirs", "ours"):
        shutil.rmtree(folder, ignore_errors=True)
    pathlib.Path("recipe.yml").write_text(RECIPES[name])
    try:
        by_mergekit("recipe.yml", "theirs")
    except Exception as e:
        return f"mergekit: {type(e).__name__}: {e}"
    done = subprocess.run([emr, "combine", "--config", "recipe.yml", "-o", "ours/"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return done.stderr.strip()
    theirs, ours = tensors_of("theirs"), tensors_of("ours")
    if set(theirs) != set(ours):
        return f"not the same tensors: {sorted(set(theirs) ^ set(ours))}"
    apart = [difference(theirs[n], ours[n]) for n in theirs]
    return apart.count(0), len(apart), max(apart)


def print_table(emr, names):
    import logging
    logging.disable(logging.WARNING)
    make_models()
    print("| recipe | equal | differs by |\n| --- | --- | --- |", flush=True)
    fine = True
    for name in names or RECIPES:
        found = compared(emr, name)
        if isinstance(found, str):
            print(f"| {name} | – | {found} |", flush=True)
            fine = False
            continue
        equal, n, apart = found
        print(f"| {name} | {equal} of {n} | {apart and format(apart, '.1e')} |", flush=True)
        fine = fine and apart <= (1e-2 if "float16" in RECIPES[name] else 1e-6)
    return fine


# ---- time and memory

def make_large(n_tasks, size):
    """F32 files of so many parameters: matrices of 1024 columns in layers, an embedding."""
    import json
    import torch
    from safetensors.torch import save_file
    rows = size // 1024
    shapes = {"model.embed_tokens.weight": rows // 5}
    for i in range(12):
        shapes[f"model.layers.{i}.mlp.up_proj.weight"] = (rows - rows // 5) // 12
    for seed, name in enumerate(["base", *[f"task{i}" for i in range(n_tasks)]]):
        draw = torch.Generator().manual_seed(seed)
        pathlib.Path(name).mkdir()
        tensors = {n: 0.02 * torch.randn(r, 1024, generator=draw) for n, r in shapes.items()}
        save_file(tensors, f"{name}/model.safetensors", {"format": "pt"})
        pathlib.Path(name, "config.json").write_text(json.dumps(
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 12, "hidden_size": 1024}))


def measure(words):
    """Seconds and MiB of a command."""
    start = time.monotonic()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{words}: {status}")
    return time.monotonic() - start, used.ru_maxrss / 1024


def print_times(emr, size, repeats):
    if os.fork() == 0:  # a command's peak begins with that of the process that starts it
        make_large(8, size)
        os._exit(0)
    if os.wait()[1]:
        sys.exit("no models")
    mergekit = pathlib.Path(sys.executable).parent / "mergekit-pytorch"
    tasks = [f"task{i}" for i in range(8)]
    print("| method | mergekit | emr combine |\n| --- | --- | --- |")
    for method, own in (("linear", "weight: 0.125"), ("task_arithmetic", "weight: 0.3"), ("ties", "weight: 0.3, density: 0.2")):
        base = None if method == "linear" else "base/model.safetensors"
        text = recipe(method, *[(f"{t}/model.safetensors", own) for t in tasks], base=base)
        pathlib.Path("recipe.yml").write_text(text)
        pathlib.Path("folders.yml").write_text(text.replace("/model.safetensors", ""))
        runs = {"theirs": [str(mergekit), "recipe.yml", "theirs"], "ours": [emr, "combine", "--config", "folders.yml", "-o", "ours/"]}
        best = {}
        for _ in range(repeats):
            for who, words in runs.items():
                shutil.rmtree(who, ignore_errors=True)
                best[who] = min(best.get(who, (1e9, 0)), measure(words))
        print(f"| {method} | " + " | ".join("{:.1f} s, {:.0f} MiB".format(*best[w]) for w in runs) + " |", flush=True)


def main():
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("emr", help="the program")
    words.add_argument("recipes", nargs="*", help="as the table has them; all")
    words.add_argument("--keep", action="store_true", help="work in ./mergekit-recipes, and leave it there")
    words.add_argument("--time", metavar="SIZE", type=int, help="parameters of a model, such as 110000000")
    words.add_argument("--repeats", type=int, default=2, help="of --time; the fastest counts (2)")
    a = words.parse_args()
    emr, home = os.path.abspath(a.emr), os.getcwd()
    folder = pathlib.Path("mergekit-recipes") if a.keep else pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    try:
        fine = print_times(emr, a.time, a.repeats) is None if a.time else print_table(emr, a.recipes)
    finally:
        os.chdir(home)
        if not a.keep:
            shutil.rmtree(folder)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
