"""test_torch.py - libemr.torch: tasks in a live module are, to the bit, the weights that the library applies,
through the session and through packed codes; mixed batches are each row alone."""

import copy

import pytest

import libemr

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")
import libemr.torch  # noqa: E402
from libemr.torch import planes as planes_module  # noqa: E402

torch.set_num_threads(1)

KINDS = [
    "mask",
    "two_sided",
    "sign",
    "thin",
    *(libemr.Modulation(kind="levels", n_levels=n) for n in (3, 4, 8, 16)),
    libemr.Modulation(kind="mask", rescale_per="tensor"),
    libemr.Modulation(kind="two_sided", rescale_per="model"),
    libemr.Modulation(kind="thin", thinning=32),
    libemr.Modulation(kind="sign", without_columns=True),
]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


class Net(torch.nn.Module):
    """Tied weights, a buffer, rows longer than a stretch, a vector, and counts that no multiple of 64 or 8
    is."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(300, 70)
        self.up = torch.nn.Linear(70, 131)
        self.norm = torch.nn.LayerNorm(131)
        self.down = torch.nn.Linear(131, 70, bias=False)
        self.long = torch.nn.Linear(20000, 3)
        self.head = torch.nn.Linear(70, 300, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.ones(3), persistent=False)

    def forward(self, ids):
        return self.head(self.down(self.norm(self.up(self.embed(ids)))))


def state(module):
    return {
        name: tensor.detach().clone() for name, tensor in module.state_dict().items() if name != "head.weight"
    }


def tuned(base, seed):
    noise = torch.Generator().manual_seed(seed)
    made = {
        name: (w.double() + 0.05 * torch.randn(w.shape, generator=noise, dtype=torch.float64)).to(w.dtype)
        if w.is_floating_point()
        else w + seed
        for name, w in base.items()
    }
    made["up.weight"][3] = base["up.weight"][3]
    return made


def network(dtype=torch.float32):
    torch.manual_seed(0)
    net = Net().to(dtype).eval()
    base = state(net)
    return net, base, {"french": tuned(base, 1), "german": tuned(base, 2)}


def applied(bundle, base, task):
    """By the library, in one call."""
    out = {name: torch.empty_like(tensor) for name, tensor in base.items()}
    bundle[task].apply(base, out)
    return out


def same(found, expected):
    for name, tensor in expected.items():
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), (
            name
        )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "kind",
    KINDS,
    ids=lambda kind: (
        kind
        if isinstance(kind, str)
        else "-".join(
            str(value) for value in (kind.kind, kind.n_levels or kind.thinning or kind.rescale_per or "plain")
        )
    ),
)
def test_switched_weights_are_applied_weights(kind, dtype, monkeypatch):
    monkeypatch.setattr(planes_module, "PIECE", 1 << 14)
    net, base, tasks = network(dtype)
    bundle = libemr.merge(
        base, tasks, modulator=kind, unified_dtype="BF16" if dtype == torch.bfloat16 else None
    ).bundle
    expected = {task: applied(bundle, base, task) for task in tasks}
    for planes in (False, True):
        with libemr.torch.Switcher(net, bundle, planes=planes) as switcher:
            for task in ("french", "german", "french"):
                switcher.switch(task)
                same(state(net), expected[task])
            switcher.switch(None)
            same(state(net), base)
    assert net.head.weight is net.embed.weight


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_switched_weights_on_a_device_are_applied_weights(kind, dtype, monkeypatch):
    monkeypatch.setattr(planes_module, "PIECE", 1 << 14)
    net, base, tasks = network(dtype)
    bundle = libemr.merge(
        base, tasks, modulator=kind, unified_dtype="BF16" if dtype == torch.bfloat16 else None
    ).bundle
    net.cuda()
    pointers = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    with libemr.torch.Switcher(net, bundle, base) as switcher:
        for task in ("french", "german", "french"):
            switcher.switch(task)
            same({name: w.cpu() for name, w in state(net).items()}, applied(bundle, base, task))
        switcher.switch(None)
        same({name: w.cpu() for name, w in state(net).items()}, base)
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == pointers


@pytest.mark.parametrize("planes", [False, True])
def test_a_module_in_another_type(planes):
    """Weights are rounded once, from F32."""
    _, base, tasks = network()
    bundle = libemr.merge(base, tasks, embed_base=True).bundle
    net = Net().to(torch.bfloat16)
    with libemr.torch.Switcher(net, bundle, planes=planes) as switcher:
        switcher.switch("german")
    same(
        state(net),
        {name: tensor.to(state(net)[name].dtype) for name, tensor in applied(bundle, base, "german").items()},
    )


def test_back_to_what_it_was():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    switcher = libemr.torch.Switcher(net, bundle)
    assert switcher.current is None
    with switcher.task("french"):
        with switcher.task("german"):
            same(state(net), applied(bundle, base, "german"))
        same(state(net), applied(bundle, base, "french"))
    same(state(net), base)
    with pytest.raises(RuntimeError, match="mine"), switcher.task("french"):
        raise RuntimeError("mine")
    same(state(net), base)


def test_the_base_may_be_a_file_a_mapping_or_the_module(tmp_path):
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    libemr.Model.of(base).write(tmp_path / "base.safetensors")
    for given in (
        tmp_path / "base.safetensors",
        libemr.Model(tmp_path / "base.safetensors", map=True),
        base,
        net.state_dict(),
        None,
    ):
        with libemr.torch.Switcher(net, bundle, given) as switcher:
            switcher.switch("french")
            same(state(net), applied(bundle, base, "french"))
            switcher.switch(None)


@pytest.mark.parametrize("planes", [False, True])
def test_a_given_model_stays_open(planes):
    net, base, tasks = network()
    given = libemr.Model.of(base)
    with libemr.torch.Switcher(net, libemr.merge(base, tasks).bundle, given, planes=planes) as switcher:
        switcher.switch("french")
    assert torch.equal(torch.from_numpy(given["up.bias"].read()), base["up.bias"])


@pytest.mark.parametrize("planes", [False, True])
def test_private_tensors_are_rounded_once(planes):
    """F64 into 16 bits, where rounding to F32 first would give another number."""
    base = {"w": torch.ones(8, 8), "b": torch.full((8,), 1 + 2**-8 + 2**-40, dtype=torch.float64)}
    tasks = {
        "french": {"w": base["w"] + 1, "b": base["b"] + 0},
        "german": {"w": base["w"] + 2, "b": -base["b"]},
    }
    bundle = libemr.merge(base, tasks, private=["b"]).bundle
    net = torch.nn.ParameterDict({"w": torch.ones(8, 8), "b": torch.zeros(8, dtype=torch.bfloat16)})
    libemr.torch.Switcher(net, bundle, base, planes=planes).switch("german")
    assert net["b"][0] == -(1 + 2**-7)


def test_names_are_mapped():
    net, base, tasks = network()
    outer = torch.nn.ModuleDict({"model": net})
    bundle = libemr.merge(base, tasks).bundle
    with pytest.raises(libemr.Mismatch):
        libemr.torch.Switcher(outer, bundle)
    libemr.torch.Switcher(outer, bundle, names=lambda name: name[len("model.") :]).switch("french")
    same(state(net), applied(bundle, base, "french"))


def test_memory_that_moves_is_found_again():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    switcher = libemr.torch.Switcher(net, bundle, base)
    switcher.switch("french")
    net.up.weight = torch.nn.Parameter(torch.zeros(131, 70))
    net.bfloat16()
    switcher.switch("french")
    same(
        state(net),
        {name: tensor.to(state(net)[name].dtype) for name, tensor in applied(bundle, base, "french").items()},
    )


def test_autograd_is_told():
    net, base, tasks = network()
    switcher = libemr.torch.Switcher(net, libemr.merge(base, tasks).bundle)
    loss = net(torch.arange(4).view(1, 4)).sum()
    switcher.switch("french")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def classifiers():
    """Each task has labels of its own; the base has no head."""
    torch.manual_seed(0)
    base = {"body.weight": torch.randn(8, 8), "body.bias": torch.randn(8)}
    tasks = {
        name: {**tuned_body(base, seed), "head.weight": torch.randn(n, 8), "head.bias": torch.randn(n)}
        for seed, (name, n) in enumerate((("spam", 2), ("tone", 2), ("topic", 5)))
    }
    return base, tasks


def tuned_body(base, seed):
    noise = torch.Generator().manual_seed(seed)
    return {name: w + 0.1 * torch.randn(w.shape, generator=noise) for name, w in base.items()}


def classifier(n):
    return torch.nn.ModuleDict({"body": torch.nn.Linear(8, 8), "head": torch.nn.Linear(8, n)})


@pytest.mark.parametrize("planes", [False, True])
def test_heads_of_other_shapes(planes):
    base, tasks = classifiers()
    bundle = libemr.merge(base, tasks).bundle
    net = classifier(2)
    first = net["head"].weight.detach().clone()
    switcher = libemr.torch.Switcher(net, bundle, base, planes=planes)
    switcher.switch("spam")
    assert torch.equal(net["head"].weight, tasks["spam"]["head.weight"])
    with pytest.raises(
        libemr.Mismatch, match=r"task 'topic': tensor 'head.weight' has the shape \[5, 8\]"
    ) as raised:
        switcher.switch("topic")
    assert (raised.value.task, raised.value.tensor) == ("topic", "head.weight")
    switcher.switch(None)
    assert torch.equal(net["head"].weight, first) and torch.equal(net["body"].weight, base["body.weight"])
    switcher = libemr.torch.Switcher(net, bundle, base, planes=planes, resize=True)
    with switcher.task("topic"):
        assert torch.equal(net["head"].weight, tasks["topic"]["head.weight"])
    assert torch.equal(net["head"].weight, first)


def test_what_module_and_task_do_not_share():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    less = Net()
    del less.long
    with pytest.raises(libemr.Mismatch, match="'long.weight'") as raised:
        libemr.torch.Switcher(less, bundle, base).switch("french")
    assert (raised.value.task, raised.value.tensor) == ("french", "long.weight")
    libemr.torch.Switcher(less, bundle, base, strict=False).switch("french")
    assert torch.equal(less.up.weight, applied(bundle, base, "french")["up.weight"])
    more = Net()
    more.other = torch.nn.Linear(2, 2)
    with pytest.raises(libemr.Mismatch, match="'other.weight'"):
        libemr.torch.Switcher(more, bundle, base).switch("french")


def test_what_a_switcher_refuses():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    with pytest.raises(libemr.Mismatch, match="its values differ"):
        libemr.torch.Switcher(Net(), bundle)
    with pytest.raises(libemr.NotFound, match="'spanish'"):
        libemr.torch.Switcher(net, bundle).switch("spanish")
    strided = copy.deepcopy(net)
    strided.up.weight = torch.nn.Parameter(strided.up.weight.detach().t().contiguous().t())
    with pytest.raises(libemr.Unsupported, match="'up.weight'.* in one piece"):
        libemr.torch.Switcher(strided, bundle, base)
    with pytest.raises(ValueError, match="meta"):
        libemr.torch.Switcher(Net().to("meta"), bundle, base)
    with pytest.raises(libemr.Unsupported, match="float8"):
        small = Net()
        small.up.weight = torch.nn.Parameter(
            small.up.weight.detach().to(torch.float8_e4m3fn), requires_grad=False
        )
        libemr.torch.Switcher(small, bundle, base, planes=True).switch("french")
    switcher = libemr.torch.Switcher(net, bundle)
    switcher.close()
    with pytest.raises(ValueError, match="is closed"):
        switcher.switch("french")


def test_codes_can_be_let_go():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    switcher = libemr.torch.Switcher(net, bundle, planes=True)
    switcher.prepare("french")
    switcher.forget("french")
    switcher.switch("french")
    same(state(net), applied(bundle, base, "french"))


@pytest.mark.parametrize("kind", ["mask", "sign"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_mixed_batch_is_each_row_alone(kind, dtype):
    net, base, tasks = network(dtype)
    bundle = libemr.merge(base, tasks, modulator=kind).bundle
    of, ids = ["french", None, "german", "french"], torch.arange(40).view(4, 10)
    with torch.no_grad(), libemr.torch.Mixed(net, bundle) as mixed:
        with mixed.tasks(of):
            together = net(ids)
        for i, task in enumerate(of):
            with mixed.tasks([task]):
                assert torch.equal(net(ids[i : i + 1])[0], together[i])
    same(state(net), base)
    switcher = libemr.torch.Switcher(net, bundle)
    for i, task in enumerate(of):
        switcher.switch(task)
        with torch.no_grad():
            assert torch.allclose(
                net(ids[i : i + 1])[0].float(),
                together[i].float(),
                atol=1e-4 if dtype == torch.float32 else 0.2,
            )


def test_a_linear_layer_by_itself():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    batch = libemr.torch.Batch(bundle, base)
    linear = libemr.torch.Linear(batch, "up.weight", "up.bias")
    x = torch.randn(2, 70)
    with batch.tasks(["french", "german"]):
        y = linear(x)
        with pytest.raises(ValueError, match="for 2 tasks"):
            linear(torch.randn(3, 70))
    for i, task in enumerate(("french", "german")):
        weights = applied(bundle, base, task)
        assert torch.allclose(
            y[i], torch.nn.functional.linear(x[i], weights["up.weight"], weights["up.bias"]), atol=1e-5
        )
    with pytest.raises(libemr.OutOfOrder, match="no tasks"):
        linear(x)


def test_mixed_heads_are_each_tasks_own():
    base, tasks = classifiers()
    bundle = libemr.merge(base, tasks).bundle
    batch = libemr.torch.Batch(bundle, base)
    head, x = libemr.torch.Linear(batch, "head.weight", "head.bias"), torch.randn(2, 8)
    with batch.tasks(["spam", "tone"]):
        y = head(x)
    for i, task in enumerate(("spam", "tone")):
        assert torch.allclose(
            y[i],
            torch.nn.functional.linear(x[i], tasks[task]["head.weight"], tasks[task]["head.bias"]),
            atol=1e-6,
        )
    with batch.tasks(["spam", "topic"]), pytest.raises(libemr.Mismatch, match="different shapes"):
        head(x)


def test_what_no_mixed_batch_goes_through_is_refused():
    net, base, tasks = network()
    bundle = libemr.merge(base, tasks).bundle
    net.up = torch.nn.Bilinear(70, 1, 131)
    net.up.weight = torch.nn.Parameter(base["up.weight"].clone())
    with pytest.raises(libemr.Unsupported, match="Bilinear has a tensor 'up.weight'"):
        libemr.torch.Mixed(net, bundle, base)
    assert type(net.down) is torch.nn.Linear


def small_bundle(module):
    base = {name: w.clone() for name, w in module.state_dict().items()}
    return libemr.merge(base, {"t": {name: w + 1 for name, w in base.items()}}).bundle, base


def test_a_layer_that_is_used_twice_is_replaced_twice():
    layer = torch.nn.Linear(4, 4)
    module, x = torch.nn.Sequential(layer, torch.nn.ReLU(), layer), torch.ones(1, 4)
    bundle, base = small_bundle(module)
    with torch.no_grad():
        with libemr.torch.Mixed(module, bundle, base) as mixed, mixed.tasks(["t"]):
            y = module(x)
        assert module[0] is layer and module[2] is layer
        with libemr.torch.Switcher(module, bundle, base) as switcher, switcher.task("t"):
            assert torch.allclose(module(x), y, rtol=1e-5)


def test_a_module_that_is_a_layer_is_no_mixed_batch():
    module = torch.nn.Linear(4, 4)
    with pytest.raises(libemr.Unsupported, match="the module itself has a tensor 'weight'"):
        libemr.torch.Mixed(module, *small_bundle(module))


def test_names_that_the_bundle_lacks_are_named():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4))
    bundle, base = small_bundle(module)
    with (
        libemr.torch.Mixed(torch.nn.Sequential(module), bundle, base) as mixed,
        mixed.tasks(["t"]),
        pytest.raises(libemr.NotFound, match="task 't' has no tensor '0.0.bias'"),
    ):
        next(mixed._replaced[0][0].children())(torch.ones(1, 4))


def test_compiled_modules_have_the_names_of_what_was_compiled():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4))
    bundle, base = small_bundle(module)
    compiled = torch.compile(module, backend="eager")
    with libemr.torch.Switcher(compiled, bundle, base) as switcher, switcher.task("t"):
        assert torch.allclose(module[0].weight, base["0.weight"] + 1)
