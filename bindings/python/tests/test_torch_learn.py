"""test_torch_learn.py - what learns with torch's passes: AdaMerging, Surgery, SurgeryV2 and SESoM, against
autograd and torch's own Adam."""

import copy

import numpy as np
import pytest

import libemr

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")
from torch import nn  # noqa: E402
from torch.func import functional_call  # noqa: E402

import libemr.fit.torch as ft  # noqa: E402
from libemr.fit.torch import weights as weights_module  # noqa: E402

torch.set_num_threads(1)
NAMES = ("first", "second", "third")


def network():
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())


class World:
    """Tasks that were fine-tuned from one base: each tells on which side of a plane a sample lies."""

    def __init__(self, dtype=torch.float32, n_tasks=3):
        torch.manual_seed(0)
        self.names = NAMES[:n_tasks]
        self.net = network()
        self.base = {k: v.clone() for k, v in self.net.state_dict().items()}
        self.tasks, self.heads, planes = {}, {}, torch.randn(n_tasks, 8)
        for name, plane in zip(self.names, planes):
            net, head = copy.deepcopy(self.net), nn.Linear(16, 2)
            adam = torch.optim.Adam([*net.parameters(), *head.parameters()], 5e-3)
            for _ in range(60):
                x = torch.randn(64, 8)
                adam.zero_grad()
                nn.functional.cross_entropy(head(net(x)), (x @ plane > 0).long()).backward()
                adam.step()
            self.tasks[name] = {k: v.to(dtype) for k, v in net.state_dict().items()}
            self.heads[name] = head.requires_grad_(False).to(dtype)
        self.base = {k: v.to(dtype) for k, v in self.base.items()}
        self.net.to(dtype).eval()
        self.dice = torch.Generator().manual_seed(1)

    def two_batches(self, name):
        dtype = next(self.net.parameters()).dtype
        return [torch.randn(16, 8, generator=self.dice).to(dtype) for _ in range(2)]

    def tau(self, name, task):
        return self.tasks[task][name].double() - self.base[name].double()

    def merged(self, lam):
        """W out of λ [tasks, tensors] in F64, for autograd."""
        return {
            name: w.double() + sum(lam[t, i] * self.tau(name, task) for t, task in enumerate(self.names))
            for i, (name, w) in enumerate(self.base.items())
        }

    def entropy(self, weights, batches):
        """Of all tasks' batches, summed."""
        net = copy.deepcopy(self.net).double()
        heads = {name: copy.deepcopy(head).double() for name, head in self.heads.items()}
        logits = [(heads[n](functional_call(net, weights, (x.double(),)))) for n, xs in batches for x in xs]
        log_p = [z.log_softmax(-1) for z in logits]
        return sum(-(lp.exp() * lp).sum(-1).mean() for lp in log_p)


# ------------------------------------------------------------------------------------------------- AdaMerging


def test_adamerging_in_ten_lines(tmp_path):
    world = World()
    model, names, heads, two_batches = world.net, world.names, world.heads, world.two_batches
    paths = {n: tmp_path / f"{n}.safetensors" for n in ("base", *names)}
    for n, path in paths.items():
        libemr.Model.of(world.tasks.get(n, world.base)).write(path)
    losses = []

    merged = libemr.Coefficients(paths.pop("base"), paths, groups=None, lr=0.02)
    for _ in range(40):
        merged.apply(model.state_dict())  # W_0 + sum of lambda tau, written into torch's memory
        losses.append(0)
        for n in names:
            for x in two_batches(n):
                logp = heads[n](model(x)).log_softmax(-1)
                loss = -(logp.exp() * logp).sum(-1).mean()
                loss.backward()  # gradients add up in p.grad
                losses[-1] += loss.item()
        merged.step({k: p.grad for k, p in model.named_parameters()})
        model.zero_grad()
    merged.save(tmp_path / "lambda.safetensors")
    merged.model().write(tmp_path / "merged.safetensors")

    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    written = libemr.Model(tmp_path / "merged.safetensors")
    ft.load_into(model, written)
    given = model(torch.ones(2, 8))
    merged.apply(model)
    assert torch.equal(model(torch.ones(2, 8)), given)
    fresh = libemr.Coefficients(world.base, world.tasks)
    fresh.load(tmp_path / "lambda.safetensors")
    assert np.array_equal(fresh.values, merged.values)


def test_gradients_and_steps_are_those_of_autograd_and_adam():
    world = World()
    merged = libemr.Coefficients(world.base, world.tasks, lr=0.02)
    lam = torch.full((3, 4), 0.3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([lam], 0.02)
    for _ in range(10):
        batches = [(n, world.two_batches(n)) for n in world.names]
        merged.apply(world.net)
        for n, xs in batches:
            for x in xs:
                ft.entropy(world.heads[n](world.net(x))).backward()
        adam.zero_grad()
        world.entropy(world.merged(lam.clamp(0, 1)), batches).backward()
        for name, p in world.net.named_parameters():
            merged.gradient(name, p.grad)
        scale = lam.grad.abs().max()
        torch.testing.assert_close(torch.tensor(merged.gradients), lam.grad, rtol=1e-5, atol=1e-5 * scale)
        merged.step()
        adam.step()
        world.net.zero_grad()
        np.testing.assert_allclose(merged.raw, lam.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_are_made_of_the_base_each_time(dtype):
    """Two hundred small steps: a change that is added to 16-bit weights each time would be lost."""
    world = World(dtype)
    merged = libemr.Coefficients(world.base, world.tasks, lr=1e-4)
    for _ in range(200):
        merged.apply(world.net)
        for n in world.names:
            ft.entropy(world.heads[n](world.net(world.two_batches(n)[0]))).backward()
        merged.step(world.net)
        world.net.zero_grad()
    assert abs(merged.values - 0.3).max() > 5e-3
    merged.apply(world.net)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for i, (name, p) in enumerate(world.net.named_parameters()):
        w = world.base[name].to(wide)
        for t, task in enumerate(world.names):
            lam = torch.tensor(merged.values[t, i]).to(wide)
            w = w + lam * (world.tasks[task][name].to(wide) - world.base[name].to(wide))
        assert p.dtype == dtype
        if dtype == torch.float64:
            torch.testing.assert_close(p.detach(), w, rtol=1e-14, atol=1e-15)
        else:
            assert torch.equal(p.detach(), w.to(dtype)), name


def test_parameters_without_gradient_keep_theirs():
    world = World()
    merged = libemr.Coefficients(world.base, world.tasks)
    world.net[0].requires_grad_(False)
    merged.apply(world.net)
    ft.entropy(world.heads["first"](world.net(world.two_batches("first")[0]))).backward()
    report = merged.step(world.net)
    assert report.n_moved == 6 and (merged.values[:, :2] == 0.3).all() and (merged.values[:, 2:] != 0.3).all()
    world.net.zero_grad()
    with pytest.raises(libemr.OutOfOrder):
        merged.step(world.net)
    world.net[2].weight.grad = torch.full_like(world.net[2].weight, torch.nan)
    before = merged.values
    with pytest.raises(libemr.NonFinite, match="2.weight"):
        merged.step(world.net)
    assert np.array_equal(merged.values, before)
    merged.apply(world.net)
    assert all(p.isfinite().all() for p in world.net.parameters())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.bend = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(6)

    def forward(self, ids):
        return self.head(self.norm(torch.tanh(self.bend(self.embed(ids)))))


@pytest.mark.parametrize("kept", ["embed.weight", "head.weight", "both"])
def test_what_is_tied_counts_once(kept):
    torch.manual_seed(0)
    net = Tied().eval()
    left_out = {"embed.weight", "head.weight"} - (
        {"embed.weight", "head.weight"} if kept == "both" else {kept}
    )
    state = {k: v.clone() for k, v in net.state_dict().items() if k not in left_out}
    tasks = {
        n: {k: v + 0.1 * torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}
        for n in "ab"
    }
    if kept == "both":
        for task in tasks.values():
            task["head.weight"] = task["embed.weight"]
    merged, ids = libemr.Coefficients(state, tasks, "model"), torch.arange(11)
    merged.apply(net)
    ft.entropy(net(ids)).backward()
    gradient = {k: p.grad.clone() for k, p in net.named_parameters()}
    wanted = sum(
        ((tasks["a"][k if k in state else kept] - state[k if k in state else kept]).double() * g).sum()
        for k, g in gradient.items()
    )
    assert net.head.weight is net.embed.weight
    merged.add_gradients(net)
    assert merged.gradients[0, 0] == pytest.approx(wanted.item(), rel=1e-5)
    name = "embed.weight" if kept == "both" else kept
    w = state[name] + sum(np.float32(0.3) * (task[name] - state[name]) for task in tasks.values())
    torch.testing.assert_close(net.embed.weight.detach(), w)
    wide = state["norm.running_var"] + sum(
        np.float32(0.3) * (task["norm.running_var"] - state["norm.running_var"]) for task in tasks.values()
    )
    torch.testing.assert_close(net.norm.running_var, wide)  # buffers too
    assert net.norm.num_batches_tracked == state["norm.num_batches_tracked"]


def test_names_of_a_prefix_and_what_is_not_in_common():
    world = World()
    renamed = [{f"model.{k}": v for k, v in w.items()} for w in (world.base, *world.tasks.values())]
    merged = libemr.Coefficients(renamed[0], dict(zip(world.names, renamed[1:])))
    with pytest.raises(libemr.Mismatch):
        merged.apply(world.net)
    merged.apply(world.net, names=lambda name: f"model.{name}")
    plain = libemr.Coefficients(world.base, world.tasks)
    wanted = {k: torch.empty_like(v) for k, v in world.base.items()}
    plain.apply(wanted)
    assert all(torch.equal(v, wanted[k]) for k, v in world.net.state_dict().items())
    world.net(torch.ones(1, 8)).sum().backward()
    with pytest.raises(libemr.NotFound):
        merged.step(world.net)
    assert merged.step(world.net, names=lambda name: f"model.{name}").n_moved == 12
    whole = nn.ModuleDict({"body": world.net, "head": world.heads["first"]})
    body = {f"body.{k}": v for k, v in world.base.items()}
    merged = libemr.Coefficients(body, {"a": {k: v + 1 for k, v in body.items()}})
    with pytest.raises(libemr.Mismatch, match=r"head\.weight"):
        merged.apply(whole)
    merged.apply(whole, strict=False)
    whole["head"].weight.grad = torch.ones(2, 16)
    assert merged.step(whole, strict=False).n_moved == 4


def test_memory_that_cannot_be_written():
    world = World()
    merged = libemr.Coefficients(world.net.state_dict(), world.tasks)
    with pytest.raises(libemr.InvalidArgument, match="copies"):
        merged.apply(world.net)
    copied = libemr.Coefficients({k: v.clone() for k, v in world.net.state_dict().items()}, world.tasks)
    slanted = {**world.net.state_dict(), "0.weight": torch.empty(8, 16).T}
    with pytest.raises(BufferError, match="not contiguous"):
        copied.apply(slanted)
    x = torch.ones(1, 8)
    loss = world.net(x).sum()
    copied.apply(world.net)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_that_are_one_tensor_count_for_each():
    """As torch.autograd.grad gives them of a sum."""
    base = {"a": torch.zeros(3), "b": torch.zeros(3)}
    merged = libemr.Coefficients(base, {"t": {"a": torch.ones(3), "b": 2 * torch.ones(3)}}, initial=0.5)
    net = nn.ParameterDict({name: w.clone() for name, w in base.items()})
    shared = torch.arange(3.0)
    for name, gradients in {"a": net, "b": {"a": shared, "b": shared}}.items():
        for p in net.parameters():
            p.grad = shared
        merged.add_gradients(gradients)
        assert merged.gradients.tolist() == [[3.0, 6.0]], name
        merged.clear()


def test_a_tensor_of_the_base_that_is_a_part_of_a_parameter(monkeypatch):
    """As where the experts of a mixture are one parameter in memory, and many tensors in files."""
    net = nn.ParameterDict({"both": torch.zeros(2, 3)})
    base = {"one": torch.zeros(3), "two": torch.zeros(3)}

    def parts(module, tensors, names):
        return {name: tensors["both"][i] for i, name in enumerate(base)}

    monkeypatch.setattr(libemr.torch.targets, "renamed", parts)
    merged = libemr.Coefficients(base, {"t": {n: torch.full((3,), i + 1.0) for i, n in enumerate(base)}})
    merged.apply(net)
    torch.testing.assert_close(net["both"].data, torch.tensor([[0.3] * 3, [0.6] * 3]))
    net["both"].grad = torch.arange(6.0).view(2, 3)
    merged.add_gradients(net)
    assert merged.gradients.tolist() == [[3.0, 24.0]]


def test_gradients_as_they_come():
    """Expanded, transposed and sparse ones are like any others."""
    base = {"w": torch.zeros(6, 4)}
    task = {"w": torch.randn(6, 4, generator=torch.Generator().manual_seed(1))}
    g = torch.zeros(6, 4)
    g[2] = torch.arange(4.0)
    wanted = (task["w"].double() * g).sum().item()
    for gradient in (g, g.T.contiguous().T, g.to_sparse(), g.bfloat16(), g.double()):
        merged = libemr.Coefficients(base, {"a": task})
        merged.gradient("w", gradient)
        assert merged.gradients[0, 0] == pytest.approx(wanted, rel=1e-12)
    merged.clear()
    merged.gradient("w", torch.ones(1).expand(6, 4))
    assert merged.gradients[0, 0] == pytest.approx(task["w"].double().sum().item(), rel=1e-12)
    for first in (None, 0):
        with pytest.raises(libemr.NotFound, match="'v'"):
            merged.gradient("v", torch.ones(4), first=first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_through_a_buffer(monkeypatch, dtype):
    """What other devices get, in the CPU's memory."""
    world = World(dtype)
    direct, staged = (libemr.Coefficients(world.base, world.tasks) for _ in range(2))
    wanted = {k: torch.empty_like(v) for k, v in world.base.items()}
    direct.apply(wanted)
    monkeypatch.setattr(weights_module, "_is_here", lambda tensor: False)
    monkeypatch.setattr(weights_module, "ROOM", 200)
    staged.apply(world.net)
    assert all(torch.equal(v, wanted[k]) for k, v in world.net.state_dict().items())
    ft.entropy(world.heads["first"](world.net(world.two_batches("first")[0]))).backward()
    staged.step(world.net)
    monkeypatch.undo()
    direct.step(world.net)
    assert np.array_equal(direct.values, staged.values)
    monkeypatch.setattr(weights_module, "_is_here", lambda tensor: False)
    with pytest.raises(BufferError, match="not contiguous"):
        staged.apply({"0.weight": torch.empty(8, 16, dtype=dtype).T})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no device beside the CPU is here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_coefficients_on_a_device(monkeypatch, dtype):
    world = World(dtype)
    here, there = (libemr.Coefficients(world.base, world.tasks, lr=0.02) for _ in range(2))
    net, heads = copy.deepcopy(world.net).cuda(), {n: copy.deepcopy(h).cuda() for n, h in world.heads.items()}
    for room in (8 << 20, 256):
        monkeypatch.setattr(weights_module, "ROOM", room)
        here.apply(world.net)
        there.apply(net)
        for (name, v), w in zip(net.state_dict().items(), world.net.state_dict().values()):
            assert v.is_cuda and torch.equal(v.cpu(), w), name
        losses = []
        for n in world.names:
            loss = ft.entropy(heads[n](net(world.two_batches(n)[0].cuda())))
            loss.backward()
            losses.append(loss.item())
        here.step({k: p.grad.cpu() for k, p in net.named_parameters()})
        there.step(net)
        net.zero_grad()
        assert np.array_equal(here.values, there.values) and np.isfinite(losses).all()
    there.step({k: torch.ones_like(p) for k, p in net.named_parameters()})
    with pytest.raises(libemr.NonFinite):
        there.step({k: torch.full_like(p, torch.inf) for k, p in net.named_parameters()})


def test_a_tied_transformer():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=20, n_positions=16)
    net = transformers.GPT2LMHeadModel(config).eval()
    base = {name: tensor.clone() for name, tensor in _saved(net).items()}
    task = {name: w + 0.05 * torch.randn_like(w) for name, w in base.items()}
    merged = libemr.Coefficients(base, {"a": task}, "model", lr=0.05)
    before, ids = merged.values[0, 0], torch.arange(16)[None]
    losses = []
    for _ in range(5):
        merged.apply(net)
        loss = net(ids, labels=ids).loss
        loss.backward()
        merged.step(net)
        net.zero_grad()
        losses.append(loss.item())
    assert net.lm_head.weight is net.transformer.wte.weight and merged.values[0, 0] != before
    assert losses[-1] < losses[0]


def _saved(net):
    import libemr.transformers
    from libemr.torch.engines import read

    model = libemr.transformers.model_of(net)
    return {name: read(t) for name, t in model.items() if not name.startswith("file:")}


# ---------------------------------------------------------------------------------------------------- entropy


@pytest.mark.parametrize("n_classes", [1, 2, 7])
def test_entropy_for_autograd(n_classes):
    z = (4 * torch.randn(2, 3, n_classes, generator=torch.Generator().manual_seed(1))).requires_grad_()
    keep = torch.tensor([[1, 1, 0], [0, 1, 1]])
    for options in ({}, {"per_log_classes": True}, {"keep": keep}):
        z.grad = None
        loss = ft.entropy(z, **options)
        loss.backward()
        given = {"keep": keep.bool()} if "keep" in options else options
        wanted, gradient = libemr.fit.entropy(z, **given)
        assert loss.item() == pytest.approx(wanted, rel=1e-5)
        torch.testing.assert_close(z.grad, gradient, rtol=1e-4, atol=1e-7)
    certain = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    ft.entropy(certain).backward()
    assert certain.grad.isfinite().all()


# ---------------------------------------------------------------------------------------------------- surgery


def features(n=64, width=12):
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=dice)
    return x, x + 0.3 * torch.relu(x @ torch.randn(width, width, generator=dice))


@pytest.mark.parametrize("loss", ["l1", "squared"])
def test_surgery_is_two_linear_layers_and_adam(loss):
    x, z = features()
    surgery = libemr.Surgery(12, 4, loss=loss, lr=3e-3)
    module = surgery.module().double()
    adam = torch.optim.Adam(module.parameters(), 3e-3)
    for i in range(60):
        rows = slice(i % 4 * 16, i % 4 * 16 + 16)
        off = module(x[rows].double()) - z[rows].double()
        wanted = off.abs().mean() if loss == "l1" else off.square().mean()
        adam.zero_grad()
        wanted.backward()
        adam.step()
        assert surgery.train(x[rows], z[rows]) == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(surgery.module()(x), module(x.double()).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(surgery(x), surgery.module()(x), rtol=1e-4, atol=1e-5)
    again = libemr.Surgery.of(surgery.module())
    assert torch.equal(again(x), surgery(x)) and torch.equal(
        libemr.Surgery.of(surgery.module().state_dict())(x), surgery(x)
    )


def test_backward_of_an_adapter_is_autograd_s():
    x, z = features()
    surgery = libemr.Surgery(12, 4)
    surgery.fit(x, z, steps=30)
    module, inner = surgery.module(), x.clone().requires_grad_()
    dy = torch.randn(64, 12, generator=torch.Generator().manual_seed(2))
    module(inner).backward(dy)
    torch.testing.assert_close(surgery.backward(x, dy), inner.grad, rtol=1e-4, atol=1e-5)
    surgery.step()
    adam = torch.optim.Adam(libemr.Surgery.of(module).module().parameters())
    assert adam and not torch.equal(torch.as_tensor(surgery.up), module.up.weight.detach())
    with pytest.raises(TypeError, match="detach"):
        surgery(inner)
    with torch.no_grad():
        assert not surgery(inner).requires_grad
    assert surgery(x.bfloat16()).dtype == torch.bfloat16


class Block(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.mix, self.drop = nn.Linear(width, width), nn.Dropout(0.5)

    def forward(self, x):
        return x + torch.tanh(self.mix(self.drop(x))), "and more"


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.project, self.token_axis = nn.Linear(12, 6), 1

    def forward(self, x):
        for block in self.blocks:
            x, _ = block(x)
        return self.project(x.mean(self.token_axis))


PLACES = ["blocks.0", "blocks.1", "project"]


def vision():
    torch.manual_seed(0)
    merged = Vision()
    own = copy.deepcopy(merged)
    with torch.no_grad():
        for p in own.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return merged.train(), own.eval(), [torch.randn(16, 5, 12) for _ in range(4)]


def gap(merged, own, batches):
    merged.eval()
    with torch.no_grad():
        return sum((merged(x) - own(x)).abs().mean().item() for x in batches)


@pytest.mark.parametrize("joint", [True, False])
def test_surgery_v2(joint, tmp_path):
    merged, own, batches = vision()
    state = copy.deepcopy(merged.state_dict())
    adapters = ft.surgery_v2(merged, own, batches, PLACES, rank=6, rounds=60, joint=joint, lr=3e-3)
    assert merged.training and not own.training and merged.blocks[0].drop.training
    assert all(p.grad is None for p in [*merged.parameters(), *own.parameters()])
    assert all(torch.equal(v, state[k]) for k, v in merged.state_dict().items())
    before = gap(merged, own, batches)
    with adapters:
        assert gap(merged, own, batches) < 0.75 * before
        with pytest.raises(libemr.OutOfOrder), adapters:
            pass
        given = merged(batches[0])
    assert gap(merged, own, batches) == before
    adapters.save(tmp_path / "v2.safetensors", "first")
    assert libemr.Surgery.places(tmp_path / "v2.safetensors") == [f"first.{p}" for p in PLACES]
    again = ft.Adapters.open(merged, tmp_path / "v2.safetensors", "first")
    with again:
        torch.testing.assert_close(merged(batches[0]), given)
    assert len(list(again.parameters())) == 6
    with pytest.raises(libemr.NotFound):
        ft.Adapters.open(merged, tmp_path / "v2.safetensors", "second")


def test_surgery_v2_is_the_authors_loop():
    """Written down: the sum over places of L1 between token means, one step of Adam a batch."""
    merged, own, batches = vision()
    got = ft.surgery_v2(merged, own, batches, PLACES, rank=4, rounds=3, seed=7)
    merged.eval()
    mine = [libemr.Surgery(w, 4, seed=7 + i).module() for i, w in enumerate((12, 12, 6))]
    adam = torch.optim.Adam([p for m in mine for p in m.parameters()], 1e-3)

    def run(net, adapt):
        def outputs(x):
            seen = []
            for block, m in zip(net.blocks, adapt):
                x = m(block(x)[0])
                seen.append(x.mean(1))
            return [*seen, adapt[2](net.project(x.mean(1)))]

        return outputs

    for _ in range(3):
        for x in batches:
            wanted = run(own, [nn.Identity()] * 3)(x)
            loss = sum((y - z.detach()).abs().mean() for y, z in zip(run(merged, mine)(x), wanted))
            adam.zero_grad()
            loss.backward()
            adam.step()
    for place, m in zip(PLACES, mine):
        torch.testing.assert_close(got[place].state_dict(), m.state_dict(), rtol=1e-4, atol=1e-6)


def test_surgery_v2_of_tokens_first_and_of_16_bits():
    merged, own, batches = vision()
    one = ft.surgery_v2(merged, own, batches, PLACES, rank=4)
    merged.token_axis = own.token_axis = 0
    flipped = [x.transpose(0, 1).contiguous() for x in batches]
    two = ft.surgery_v2(merged, own, flipped, PLACES, rank=4, batch_axis=1)
    for place in PLACES:
        torch.testing.assert_close(one[place].state_dict(), two[place].state_dict(), rtol=1e-3, atol=1e-5)
    merged.token_axis = own.token_axis = 1
    narrow = ft.surgery_v2(merged.bfloat16(), own.bfloat16(), [x.bfloat16() for x in batches], PLACES)
    assert narrow["project"].up.weight.dtype == torch.float32
    with narrow:
        assert merged(batches[0].bfloat16()).dtype == torch.bfloat16
    with pytest.raises(libemr.OutOfOrder, match="has not run"):
        ft.surgery_v2(merged, own, [x.bfloat16() for x in batches], ["blocks"])
    with pytest.raises(AttributeError):
        ft.surgery_v2(merged, own, [x.bfloat16() for x in batches], ["nothing"])
    with pytest.raises(libemr.InvalidArgument):
        ft.surgery_v2(merged, own, [], PLACES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no device beside the CPU is here")
@pytest.mark.parametrize("joint", [True, False])
def test_surgery_v2_on_a_device(joint, tmp_path):
    merged, own, batches = vision()
    merged, own = merged.cuda(), own.cuda()
    adapters = ft.surgery_v2(merged, own, batches, PLACES, rank=6, rounds=60, joint=joint, lr=3e-3)
    given = [x.cuda() for x in batches]
    before = gap(merged, own, given)
    with adapters:
        assert gap(merged, own, given) < 0.75 * before
    adapters.save(tmp_path / "v2.safetensors", "first")
    surgery = libemr.Surgery.open(tmp_path / "v2.safetensors", "first.project")
    x = torch.randn(4, 6, device="cuda")
    torch.testing.assert_close(surgery(x), adapters["project"](x).detach(), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------- ensembles


class Attention(nn.Module):
    """SESoM's network, as its formulas have it."""

    def __init__(self, state, norm, activation, temperature):
        super().__init__()
        self.w = nn.ParameterDict(
            {k.replace(".", "_"): nn.Parameter(torch.as_tensor(v)) for k, v in state.items()}
        )
        self.norm, self.f, self.temperature = norm, activation, temperature

    def side(self, inputs, s):
        h = self.f(inputs @ self.w[f"{s}_down_weight"].T) @ self.w[f"{s}_up_weight"].T
        if self.norm:
            bias = self.w["x_norm_bias"] if s == "x" else None
            h = nn.functional.layer_norm(h, h.shape[-1:], self.w[f"{s}_norm_weight"], bias)
        return h

    def forward(self, x, keys):
        scores = torch.einsum("nd,njd->nj", self.side(x, "x"), self.side(keys, "l")) / self.temperature
        return scores.softmax(-1)


@pytest.mark.parametrize("mix", ["logits", "probabilities"])
@pytest.mark.parametrize("norm, activation", [(False, "silu"), (True, "relu")])
def test_sesom_is_autograd_and_adam(mix, norm, activation, tmp_path):
    dice = torch.Generator().manual_seed(0)
    x, values = torch.randn(24, 6, generator=dice), torch.randn(24, 3, 4, generator=dice)
    keys, labels = torch.randn(24, 3, 9, generator=dice), torch.randint(0, 4, (24,), generator=dice)
    options = {"norm": norm, "activation": activation, "mix": mix, "temperature": 1.5, "lr": 1e-2}
    e = libemr.Ensemble(6, 9, x_hidden=7, key_hidden=8, shared_width=5, **options)
    e.save(tmp_path / "e.safetensors")
    state = {name: tensor.read() for name, tensor in libemr.Model(tmp_path / "e.safetensors").items()}
    attention = Attention(state, norm, getattr(nn.functional, activation), 1.5)
    adam = torch.optim.Adam(attention.parameters(), 1e-2)
    wide, answers = [x.double(), keys.double()], values.double()
    for _ in range(20):
        a = attention(*wide)
        if mix == "logits":
            loss = nn.functional.cross_entropy(torch.einsum("nj,njc->nc", a, answers), labels)
        else:
            loss = nn.functional.nll_loss(torch.einsum("nj,njc->nc", a, answers.softmax(-1)).log(), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert e.train(x, values, labels, keys=keys) == pytest.approx(loss.item(), rel=1e-6)
    a = attention(*wide).detach()
    torch.testing.assert_close(e.weights(x, values, keys=keys), a.float(), rtol=1e-4, atol=1e-5)
    mixed = answers if mix == "logits" else answers.softmax(-1)
    out = torch.einsum("nj,njc->nc", a, mixed).float()
    torch.testing.assert_close(e.combine(x.bfloat16().float(), values, keys=keys).shape, out.shape)
    torch.testing.assert_close(e.combine(x, values, keys=keys), out, rtol=1e-4, atol=1e-5)
    assert isinstance(e.vote(values)[0], int) and e.pool(torch.randn(3, 4, 6)).shape == (3, 6)
