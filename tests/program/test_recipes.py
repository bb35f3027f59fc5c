"""test_recipes.py EMR - emr combine --config: recipes as mergekit writes them. What a parameter is for a tensor is seen by the
method passthrough, which multiplies by its `scale`: of models of ones, what comes out are the scales."""
import json
import os
import pathlib
import struct

from program import *

LAYERS = 5
PER_LAYER = ("self_attn.q_proj.weight", "mlp.up_proj.weight")


def network(value=1.0, layers=LAYERS, head=True):
    tensors = {"model.embed_tokens.weight": ([3, 2], [value] * 6)}
    for i in range(layers):
        tensors.update({f"model.layers.{i}.{name}": ([2, 2], [value] * 4) for name in PER_LAYER})
    tensors["model.norm.weight"] = [value] * 2
    if head:
        tensors["lm_head.weight"] = ([3, 2], [value] * 6)
    return tensors


def numbered(start, layers=LAYERS):
    """Every tensor is filled with a number of its own."""
    return {name: (t[0], [start + i] * len(t[1])) if isinstance(t, tuple) else [start + i] * len(t)
            for i, (name, t) in enumerate(network(layers=layers).items())}


def folder(name, tensors, **config):
    save(f"{name}/model.safetensors", tensors)
    pathlib.Path(f"{name}/config.json").write_text(json.dumps({"num_hidden_layers": LAYERS, "of": name, **config}))
    pathlib.Path(f"{name}/tokenizer.json").write_text(name)


def combine(text, *words, out="out/", status=0, **options):
    pathlib.Path("recipe.yml").write_text(text)
    return emr("combine", "--config", "recipe.yml", "-o", out, "--force", *words, status=status, **options)


def refused(text, line, *says, status=2):
    """One sentence, with the line; nothing is left behind."""
    before = set(pathlib.Path(".").rglob("*"))
    result = combine(text, status=status)
    result.says(*says, *([f"recipe.yml: line {line}: "] if line else []))
    assert len(result.err.splitlines()) == 1, result.err
    assert set(pathlib.Path(".").rglob("*")) <= before | {pathlib.Path("recipe.yml")}


def first_values(path="out/model.safetensors"):
    return {name: values[0] for name, values in load(path).items()}


# ---- what a setting is, once more

def layer_of(name):
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["model", "layers"] else None


def setting(value, tensor, t):
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return value
    if value and all(isinstance(v, dict) for v in value):
        for case in value:
            if case.get("filter") in (None, "*") or case["filter"] in tensor:
                return setting(case["value"], tensor, t)
        return None
    if not value:
        return None
    x = t * (len(value) - 1)
    i = int(x)
    j = min(i + 1, len(value) - 1)
    return (1 - (x - i)) * value[i] + (x - i) * value[j]


def depth(layer, n):
    return 0.0 if layer is None else layer / (n - 1) if n > 1 else 1.0


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def passthrough(top=None, source=None, module=None, out_slice=None):
    """A recipe of one slice with `scale` at some of the four levels, as JSON, which is YAML."""
    def level(value):
        return {} if value is None else {"parameters": {"scale": value}}
    piece = {"sources": [{"model": "ones", "layer_range": [0, LAYERS], **level(source)}], **level(out_slice)}
    return json.dumps({"merge_method": "passthrough", "modules": {"default": {"slices": [piece], **level(module)}}, **level(top)},
                      indent=1)


SETTINGS = (
    0.5, 2, [0, 1], [1.0, 0.5, 0.25], [0, 0.5, 0.3, 0.7, 1], [0.1, 0.2, 0.7, 0.1, 0.2, 0.9, 0.3], [3],
    {"filter": "mlp", "value": 0.25}, [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": [1, 0]}],
    [{"filter": "self_attn", "value": [0, 1]}, {"value": 0.125}],
    [{"filter": "layers.3.", "value": 7}, {"filter": "*", "value": [0.1, 0.9]}],
    [{"filter": "lm_head", "value": 3}, {"filter": "norm", "value": [4, 5]}, {"filter": "embed", "value": 6}],
)


def test_settings():
    folder("ones", network())
    for value in SETTINGS:
        combine(passthrough(top=value))
        for name, got in first_values().items():
            wanted = setting(value, name, depth(layer_of(name), LAYERS))
            assert got == f32(1.0 if wanted is None else wanted), (value, name, got, wanted)


def test_four_levels():
    folder("ones", network())
    levels = {"top": 2.0, "module": 3.0, "out_slice": 5.0, "source": 7.0}
    for n in range(1, 5):
        given = dict(list(levels.items())[:n])
        combine(passthrough(**given))
        assert set(first_values().values()) == {list(given.values())[-1]}, given
    for n in range(1, 5):  # a level whose filters do not fit leaves it to the next
        given = {k: {"filter": "nothing", "value": v} if i >= n else v for i, (k, v) in enumerate(levels.items())}
        combine(passthrough(**given))
        assert set(first_values().values()) == {list(levels.values())[n - 1]}, given
    combine(passthrough(source=[], top=9.0))  # and so does a list of nothing
    assert set(first_values().values()) == {9.0}


def test_one_layer_has_depth_1():
    folder("ones", network())
    combine("""
merge_method: passthrough
slices:
  - sources: [{model: ones, layer_range: [2, 3]}]
  - sources: [{model: ones, layer_range: [0, 2]}]
parameters: {scale: [0.25, 0.75]}
""")
    got = first_values()
    assert got["model.layers.0.mlp.up_proj.weight"] == 0.75
    assert [got[f"model.layers.{i}.mlp.up_proj.weight"] for i in (1, 2)] == [0.25, 0.75]
    assert got["model.embed_tokens.weight"] == got["model.norm.weight"] == got["lm_head.weight"] == 0.25


def test_lists_of_flags_choose_by_depth():
    folder("a", network(1.0))
    folder("b", network(2.0))
    combine("""
merge_method: linear
models:
  - model: a
    parameters: {weight: 1}
  - {model: b, parameters: {weight: 1.0}}
parameters:
  normalize: [true, false, on]
""")
    got = first_values()
    floors = [int(depth(i, LAYERS) * 2) for i in range(LAYERS)]
    assert [got[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(LAYERS)] == [[1.5, 3.0, 1.5][k] for k in floors]
    assert got["model.embed_tokens.weight"] == 1.5


def test_weights_of_models_and_a_base_that_is_added():
    folder("base", network(1.0))
    folder("a", network(2.0))
    folder("b", network(4.0))
    combine("""
merge_method: task_arithmetic
base_model: base
models:
  - model: a
    parameters:
      weight: [0, 1]
  - model: b
    parameters:
      weight: {filter: mlp, value: 0.5}
parameters:
  weight: 0.25
  int8_mask: true
""")
    for name, got in first_values().items():
        weight_a, weight_b = depth(layer_of(name), LAYERS), 0.5 if "mlp" in name else 0.25
        assert got == f32(1.0 + f32(weight_a) + f32(weight_b) * 3), name
    assert json.loads(pathlib.Path("out/config.json").read_text())["of"] == "base"
    assert pathlib.Path("out/tokenizer.json").read_text() == "base"


def test_the_base_is_one_more_input_of_methods_that_take_it_so():
    folder("a", network(1.0))
    folder("b", network(4.0))
    text = "merge_method: linear\nbase_model: b\nmodels: [{model: a, parameters: {weight: 2}}]\n"
    refused(text, 3, "linear needs 'weight' of 'b'")
    combine(text + "parameters: {weight: 1}\n")
    assert set(first_values().values()) == {2.0}
    combine("merge_method: linear\nbase_model: b\nmodels:\n- {model: a, parameters: {weight: 1}}\n"
            "- {model: b, parameters: {weight: 3}}\n")
    assert set(first_values().values()) == {3.25}


def test_layers_are_stacked_and_numbered_anew():
    folder("a", numbered(100.0), layer_types=[f"a{i}" for i in range(LAYERS)], eps=1e-5)
    folder("b", numbered(200.0))
    combine("""
slices:
- sources:
  - model: a
    layer_range: [0, 3]
- sources:
  - model: b
    layer_range: [1, 5]
- sources:
  - {model: a, layer_range: [4, 5]}
merge_method: passthrough
dtype: float32
""")
    a, b, got = (first_values(f"{m}/model.safetensors") for m in ("a", "b", "out"))
    wanted = {"model.embed_tokens.weight": a["model.embed_tokens.weight"], "model.norm.weight": a["model.norm.weight"],
              "lm_head.weight": a["lm_head.weight"]}
    for i, (model, layer) in enumerate([(a, 0), (a, 1), (a, 2), (b, 1), (b, 2), (b, 3), (b, 4), (a, 4)]):
        for name in PER_LAYER:
            wanted[f"model.layers.{i}.{name}"] = model[f"model.layers.{layer}.{name}"]
    assert got == wanted
    config = json.loads(pathlib.Path("out/config.json").read_text())
    assert config == {"num_hidden_layers": 8, "of": "a", "eps": 1e-5,
                      "layer_types": ["a0", "a1", "a2", "a1", "a2", "a3", "a4", "a4"]}


def test_what_lies_behind_the_layers_is_the_last_slice_s():
    folder("a", numbered(100.0))
    folder("b", numbered(200.0))
    combine("merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
            "- sources: [{model: b, layer_range: [0, 1]}]\n")
    a, b, got = (first_values(f"{m}/model.safetensors") for m in ("a", "b", "out"))
    assert got["model.embed_tokens.weight"] == a["model.embed_tokens.weight"]
    assert got["model.norm.weight"] == b["model.norm.weight"] and got["lm_head.weight"] == b["lm_head.weight"]


def test_methods_inside_slices():
    folder("base", numbered(0.0))
    folder("a", numbered(10.0))
    combine("""
merge_method: slerp
base_model: base
slices:
- sources:
  - {model: base, layer_range: [0, 5]}
  - {model: a, layer_range: [0, 5]}
parameters:
  t:
    - filter: self_attn
      value: [0, 1]
    - value: 0
""")
    base, a, got = (first_values(f"{m}/model.safetensors") for m in ("base", "a", "out"))
    for name, value in got.items():
        layer = layer_of(name)
        wanted = base[name]
        if layer is not None and "self_attn" in name:  # vectors of one direction, all entries equal: linear
            t = depth(layer, LAYERS)
            wanted = (1 - t) * base[name] + t * a[name] if base[name] else None
        assert wanted is None or abs(value - wanted) < 1e-5 * abs(wanted) + 1e-6, (name, value, wanted)


def test_different_layers_of_two_models():
    folder("a", numbered(100.0))
    folder("b", numbered(200.0))
    combine("""
merge_method: linear
slices:
- sources:
  - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
  - {model: b, layer_range: [3, 5], parameters: {weight: [{filter: "layers.4", value: 3}, {value: 1}]}}
""")
    a, b, got = (first_values(f"{m}/model.safetensors") for m in ("a", "b", "out"))
    for i, weight in ((0, 1), (1, 3)):  # filters see the input's own name
        name = f"model.layers.{i}.mlp.up_proj.weight"
        wanted = (a[name] + weight * b[f"model.layers.{i + 3}.mlp.up_proj.weight"]) / (1 + weight)
        assert abs(got[name] - wanted) < 1e-4
    assert json.loads(pathlib.Path("out/config.json").read_text())["num_hidden_layers"] == 2


def dtypes(path="out/model.safetensors"):
    return {t["dtype"] for t in emr("inspect", path, "--json").json["tensors"]}


def test_types():
    folder("a", network(1.0 + 2.0 ** -10), torch_dtype="float32")
    plain = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    for text, dtype, value in (("", "F32", 1.0 + 2.0 ** -10), ("dtype: bfloat16\n", "BF16", None),
                               ("dtype: float16\n", "F16", None), ("out_dtype: torch.bfloat16\n", "BF16", None),
                               ("dtype: bfloat16\nout_dtype: float32\n", "F32", 1.0),  # read as bfloat16
                               ("dtype: float16\nout_dtype: float32\n", "F32", 1.0 + 2.0 ** -10)):
        combine(plain + text)
        assert dtypes() == {dtype}, text
        if value is not None:
            assert set(first_values().values()) == {value}, text
        names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
        assert json.loads(pathlib.Path("out/config.json").read_text())["torch_dtype"] == names[dtype]
    combine("merge_method: linear\ndtype: bfloat16\nmodels: [{model: a, parameters: {weight: 1}}]\n", out="narrow/")
    combine("merge_method: linear\nmodels:\n- {model: narrow, parameters: {weight: 1}}\n- {model: a, parameters: {weight: 1}}\n")
    assert dtypes() == {"F32"}  # what holds both
    assert json.loads(pathlib.Path("out/config.json").read_text())["torch_dtype"] == "float32"


def test_tied_heads():
    folder("tied", network(1.0, head=False))
    folder("other", network(3.0))
    combine("merge_method: linear\nmodels:\n- {model: tied, parameters: {weight: 1}}\n- {model: other, parameters: {weight: 1}}\n")
    assert first_values()["lm_head.weight"] == 2.0
    folder("same", network(3.0, head=False))
    combine("merge_method: linear\nmodels:\n- {model: tied, parameters: {weight: 1}}\n- {model: same, parameters: {weight: 1}}\n")
    assert "lm_head.weight" not in first_values()


def test_modules():
    tensors = {**network(1.0), "visual.blocks.0.w": [1.0], "visual.blocks.1.w": [1.0], "visual.merger.w": [1.0]}
    folder("ones", tensors, vision_config={"depth": 2})
    combine("""
merge_method: passthrough
modules:
  text_decoder: {models: [{model: ones, parameters: {scale: 2}}]}
  vision_tower: {models: [{model: ones}], parameters: {scale: [3, 4]}}
  multi_modal_projector:
    models: [{model: ones}]
parameters: {scale: 5}
""")
    got = first_values()
    assert got["model.norm.weight"] == 2.0 and got["visual.blocks.0.w"] == 3.0 and got["visual.blocks.1.w"] == 4.0
    assert got["visual.merger.w"] == 5.0
    refused("merge_method: passthrough\nmodules:\n  text_decoder: {models: [{model: ones}]}\n", 3, "no module", "visual.blocks.0.w")
    refused("merge_method: passthrough\nslices:\n- sources: [{model: ones, layer_range: [0, 1]}]\n", 3, "has layers in")
    refused("merge_method: passthrough\nmodules:\n  ears: {models: [{model: ones}]}\n", 3, "module 'ears' is not known")


def test_anchors():
    folder("ones", network())
    combine("""
merge_method: passthrough
slices:
- sources: &source
  - {model: ones, layer_range: &range [0, 1]}
- sources: *source
- sources: [{model: ones, layer_range: *range}]
""")
    assert json.loads(pathlib.Path("out/config.json").read_text())["num_hidden_layers"] == 3


def test_base_s_tokenizer_and_longer_vocabularies():
    folder("base", network(1.0))
    folder("a", {**network(2.0), "lm_head.weight": ([4, 2], [3.0] * 8)})
    text = "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    refused(text, None, "lm_head.weight", status=1)
    base = {"model": {"vocab": {"x": 0, "y": 1}}, "added_tokens": [{"id": 2, "content": "<end>"}]}
    longer = {"model": {"vocab": {"x": 0, "y": 1, "z": 3}}, "added_tokens": [{"id": 2, "content": "<end>"}]}
    listed = {"model": {"vocab": [["x", -1.0], ["y", -2.0], ["<end>", 0.0], ["z", 0.0]]}}
    for more in ("tokenizer_source: base\n", "tokenizer: {source: base}\n"):
        refused(text + more, 3, "without a tokenizer.json in both")  # they hold no JSON
        for other in (base, longer, listed):
            pathlib.Path("base/tokenizer.json").write_text(json.dumps(base))
            pathlib.Path("a/tokenizer.json").write_text(json.dumps(other))
            combine(text + more)
            assert load("out/model.safetensors")["lm_head.weight"] == [3.0] * 6
        for vocabulary in ({"x": 1, "y": 0, "<end>": 2}, {"x": 0, "y": 1, "z": 2}):
            pathlib.Path("a/tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
            refused(text + more, 3, "has another row in 'a' than in the base")
        pathlib.Path("a/tokenizer.json").write_text("a")
        pathlib.Path("base/tokenizer.json").write_text("base")
    os.remove("a/tokenizer.json")
    assert "taken for granted" in combine(text + "tokenizer_source: base\n").notes[0]


def test_what_does_nothing_is_said():
    folder("base", network(1.0))
    folder("a", network(2.0))
    result = combine("""merge_method: task_arithmetic
base_model: base
models:
- {model: base, parameters: {weight: 9}}
- model: a
  parameters:
    weight: 1
    normalize: true
parameters:
  gamma: 0.1
""")
    assert [note.split("recipe.yml: ")[1].split(":")[0] for note in result.notes] == ["line 10", "line 4", "line 8"], result.err
    assert set(first_values().values()) == {2.0}


def test_rescale_restores_what_is_cut():
    folder("base", {"w": [0.0] * 4, "x": [0.0] * 4})
    folder("a", {"w": [1.0, -2.0, 3.0, 4.0], "x": [0.0] * 4})
    for method in ("ties", "breadcrumbs", "breadcrumbs_ties"):
        text = f"""merge_method: {method}
base_model: base
models: [{{model: a, parameters: {{weight: 1, density: 0.5}}}}]
parameters: {{rescale: RESCALE}}
"""
        assert not combine(text.replace("RESCALE", "false")).notes
        assert load("out/model.safetensors")["w"] == [0, 0, 3, 4], method
        assert not combine(text.replace("RESCALE", "true")).notes
        assert load("out/model.safetensors") == {"w": [0, 0, *[f32(x * f32(10 / 7)) for x in (3.0, 4.0)]], "x": [0] * 4}, method
        refused(text.replace("RESCALE", "2"), 4, "rescale", "is not from 0 to 1")


def test_plan_and_report():
    folder("ones", network())
    pathlib.Path("recipe.yml").write_text("merge_method: passthrough\nslices:\n- sources: [{model: ones, layer_range: [0, 2]}]\n"
                                          "- sources: [{model: ones, layer_range: [0, 1]}]\n")
    before = set(pathlib.Path(".").rglob("*"))
    plan = emr("combine", "--config", "recipe.yml", "--dry-run", "--json").json
    assert set(pathlib.Path(".").rglob("*")) == before
    assert plan["recipe"] == "recipe.yml" and plan["method"] == "passthrough"
    assert [t["name"] for t in plan["tensors"]][-1] == "lm_head.weight" and len(plan["tensors"]) == 3 + 3 * 2
    report = emr("combine", "--config", "recipe.yml", "-o", "out/", "--json").json
    assert report["models"] == [{"name": "ones", "checkpoint": "ones", "adapter": None}]
    assert sorted(os.path.basename(f) for f in report["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_places():
    folder("ones", network())
    text = "merge_method: passthrough\nmodels: [{model: ones}]\n"
    before = unchanged(["ones/model.safetensors"])
    combine(text, out="ones", status=2).says("the output is a model of the recipe, in line 2")
    combine(text, out="ones/model.safetensors", status=2).says("never written over")
    combine(text, out="recipe.yml", status=2).says("the output is the recipe")
    assert unchanged(["ones/model.safetensors"]) == before
    emr("combine", "--config", "recipe.yml", "-o", "out/")
    emr("combine", "--config", "recipe.yml", "-o", "out/", status=2).says("already exists")
    emr("combine", "--config", "recipe.yml", "-o", "out/", "--method", "linear", status=2).says("does not go with --method")
    emr("combine", "--config", "nowhere.yml", "-o", "out/", status=3).says("nowhere.yml", "No such file")
    os.chdir("ones")  # paths begin in the current folder, as with mergekit
    emr("combine", "--config", "../recipe.yml", "-o", "../new/", status=3).says("line 2", "'ones' is no file or folder here")
    os.chdir("..")


def test_models_that_are_not_here():
    folder("ones", network())
    head = "merge_method: passthrough\nmodels:\n"
    refused(head + "- model: org/model-7b\n", 3, "'org/model-7b'", "nothing is downloaded", status=3)
    refused(head + "- model: org/model-7b@main\n", 3, "names a revision")
    refused(head + "- model: ones+org/adapter\n", 3, "'org/adapter'", "nothing is downloaded", status=3)
    refused(head + "- model: a+b+c\n", 3, "must be MODEL or MODEL+ADAPTER")
    os.rename("ones", "on+es@1")
    combine(head + "- model: {model: {path: on+es@1}}\n")
    combine(head + "- model: {model: {path: on+es@1, revision: null}, lora: ~, override_architecture: null}\ntokenizer: null\n"
            "chat_template: null\n")  # as mergekit itself writes them


WRONG = (
    # text, line, words
    ("", None, ["is empty"]),
    ("- a\n", 1, ["a recipe is a map"]),
    ("models: [{model: ones}]\n", 1, ["'merge_method' is missing"]),
    ("merge_method: passthrough\n", 1, ["one of 'models', 'slices' and 'modules' is missing"]),
    ("merge_method: nothing_known\nmodels: [{model: ones}]\n", 1, ["no merge_method 'nothing_known'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\nslices: []\n", 3, ["one alone"]),
    ("merge_method: passthrough\nmodels: []\n", 2, ["'models' must be a list of models"]),
    ("merge_method: passthrough\nmodels: ones\n", 2, ["'models' must be a list of models"]),
    ("merge_method: passthrough\nmodels: [ones]\n", 2, ["a map with 'model'"]),
    ("merge_method: passthrough\nmodels: [{parameters: {scale: 1}}]\n", 2, ["'model' is missing"]),
    ("merge_method: passthrough\nmodels:\n- model: ones\n  weight: 1\n", 4, ["'weight'", "under 'parameters'"]),
    ("merge_method: passthrough\nmodels:\n- model: ones\n  colour: 1\n", 4, ["'colour' is no key", "model, parameters"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ncolour: red\n", 3, ["'colour' is no key"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\nmerge_method: linear\n", 3, ["is there twice", "line 1"]),
    ("merge_method: passthrough\nmodels: [{model: ones}, {model: ones}]\n", 2, ["is there twice"]),
    ("merge_method: task_arithmetic\nmodels: [{model: ones}]\n", 2, ["task_arithmetic needs a 'base_model'"]),
    ("merge_method: slerp\nmodels: [{model: ones}]\n", 2, ["slerp needs a 'base_model'"]),
    ("merge_method: task_arithmetic\nbase_model: ones\nmodels: [{model: ones}]\n", 3, ["at least 1 model besides the base"]),
    ("merge_method: task_arithmetic\nbase_model: two\nslices:\n- sources: [{model: ones, layer_range: [0, 1]}]\n", 4,
     ["'two' must be one of the slice's sources"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones}]}]\n", 2, ["'layer_range' is missing"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones, layer_range: [1]}]}]\n", 2, ["two whole numbers"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones, layer_range: [0, x]}]}]\n", 2, ["two whole numbers"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones, layer_range: [-1, 2]}]}]\n", 2, ["two whole numbers"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones, layer_range: [2, 2]}]}]\n", 2, ["has no layers"]),
    ("merge_method: passthrough\nslices:\n- sources: [{model: ones, layer_range: [2, 9]}]\n", 3, ["has 5 layers", "ends with 9"]),
    ("merge_method: linear\nslices:\n- sources:\n  - {model: ones, layer_range: [0, 2]}\n  - {model: two, layer_range: [0, 3]}\n", 5,
     ["3 layers", "have 2"]),
    ("merge_method: passthrough\nslices: [{sources: [{model: ones, layer_range: [0, 2]}], residual_weight: 1}]\n", 2,
     ["'residual_weight'"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: x}}]\n", 2, ["'x' is no number"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: .inf}}]\n", 2, ["is no number"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: 010}}]\n", 2, ["is no number"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: }}]\n", 2, ["'weight' must be a value"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: [1, [2]]}}]\n", 2, ["'weight' must be a value"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: [{filter: a}]}}]\n", 2, ["'value' is missing"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: [{value: 1}, 2]}}]\n", 2, ["'weight' must be one of"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: [1, {value: 2}]}}]\n", 2, ["'weight' must be a value"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: {weight: {value: 1, glob: a}}}]\n", 2, ["'glob' is no key"]),
    ("merge_method: linear\nmodels: [{model: ones, parameters: [weight]}]\n", 2, ["parameters by name"]),
    ("merge_method: linear\nmodels: [{model: ones}]\nparameters:\n  wieght: 1\n", 4, ["linear has no parameter 'wieght'"]),
    ("merge_method: linear\nmodels: [{model: ones}]\nparameters: {weight: 1, normalize: 2}\n", 3, ["'normalize'", "from 0 to 1"]),
    ("merge_method: linear\nmodels: [{model: ones}]\nparameters: {weight: 1, normalize: 0.5}\n", 3, ["no whole number"]),
    ("merge_method: linear\nmodels: [{model: ones}]\n", 2, ["linear needs 'weight' of 'ones'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ndtype: int64\n", 3, ["'dtype'", "not 'int64'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\nout_dtype: float8\n", 3, ["'out_dtype'", "not 'float8'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ntokenizer_source: union\n", 3, ["'tokenizer_source' other than 'base'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ntokenizer: {source: ones}\n", 3, ["'source' other than 'base'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ntokenizer_source: base\n", 3, ["there is no 'base_model'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ntokenizer: {}\n", 3, ["'tokenizer' without"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\ntokenizer: {source: base, pad_to_multiple_of: 8}\n", 3,
     ["'pad_to_multiple_of'"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\nchat_template: auto\n", 3, ["'chat_template'"]),
    ("base_model: ones\ngate_mode: hidden\nexperts: []\n", 2, ["'gate_mode'", "mixtures of experts"]),
    ("merge_method: passthrough\nmodels: [{model: ones, <<: {}}]\n", 2, ["'<<'", "merge keys"]),
    ("merge_method: passthrough\nmodels: [{model: ones}]\n---\na: b\n", 3, ["another document"]),
    ("merge_method: passthrough\nmodels: [\n", 3, ["this is no YAML"]),
    ("merge_method: !!python/name:os.system x\n", 1, ["a tag"]),
    ("merge_method: *unknown\n", 1, ["alias 'unknown' stands for nothing"]),
    ("merge_method: &a [*a]\n", 1, ["alias 'a' stands for nothing"]),
    ("[a, b]: c\n", 1, ["a key is no word"]),
    ("merge_method: \"a\\0b\"\n", 1, ["a zero byte"]),
    ("a: " + "[" * 40 + "]" * 40 + "\n", 1, ["nested deeper"]),
)


def test_what_is_wrong():
    folder("ones", network())
    folder("two", network(2.0))
    for text, line, says in WRONG:
        refused(text, line, *says)


def test_sentences_of_methods_name_the_recipe():
    for name, value in (("ones", 1.0), ("two", 2.0)):
        folder(name, network(value))
    for text, says in (("merge_method: passthrough\nmodels: [{model: ones}, {model: two}]\n", "takes 1 task"),
                       ("merge_method: linear\nmodels: [{model: ones}]\nparameters: {weight: 0}\n", "add up to 0")):
        refused(text, None, "recipe.yml: the method", says)


def test_bytes_that_editors_leave():
    folder("ones", network())
    text = "merge_method: passthrough\nmodels:\n- model: ones\n  parameters: {scale: 2}\n"
    for raw in (b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), text.encode("utf-16")):
        pathlib.Path("odd.yml").write_bytes(raw)
        emr("combine", "--config", "odd.yml", "-o", "odd/", "--force")
        assert first_values("odd/model.safetensors")["model.norm.weight"] == 2
    for raw in (text.encode("utf-32"), text.encode() + b"\0", text.replace("ones", "\xf6nes").encode("latin1")):
        pathlib.Path("odd.yml").write_bytes(raw)
        assert len(emr("combine", "--config", "odd.yml", "-o", "no/", status=2).says("odd.yml: line").err.splitlines()) == 1


def test_bounds():
    folder("ones", network())
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    refused("\n".join(laughs), None, "more than 100000 nodes")
    refused("x: y\n" * 300000, None, "more than 1 MiB")
    refused("\n".join(f"k{i}: v" for i in range(2000)), 1001, "more than 1000 keys")
    refused("merge_method: linear\nmodels:\n" + "\n".join(f"- model: m{i}" for i in range(1200)), None, "more than 1000 models")


run(globals())
