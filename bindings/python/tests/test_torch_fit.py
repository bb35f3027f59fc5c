"""test_torch_fit.py - libemr.fit.torch: what layers read is what torch says they read, and merged modules are
what the formulas make of it."""

import copy

import pytest

import libemr

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")
from torch import nn  # noqa: E402

import libemr.fit.torch as ft  # noqa: E402
from libemr import fit  # noqa: E402
from libemr.fit.torch import rows as rows_module  # noqa: E402

torch.set_num_threads(1)


class MLP(nn.Module):
    def __init__(self, widths=(6, 16, 12, 4)):
        super().__init__()
        for i, (n, m) in enumerate(zip(widths, widths[1:])):
            setattr(self, f"fc{i}", nn.Linear(n, m))

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.relu(self.fc0(x)))))


class Block(nn.Module):
    """torchvision's names."""

    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n)
        self.relu = nn.ReLU(inplace=True)  # writes over what layers have read

    def forward(self, x):
        return self.relu(x.add_(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.layer1(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


def made(kind, seed, *arguments):
    torch.manual_seed(seed)
    module = kind(*arguments)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.add_(0.15 * torch.randn(tensor.shape))
    return module.eval()


def batches(seed, *shape, n=5):
    dice = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=dice) for _ in range(n)]


def outputs(module, given):
    with torch.no_grad():
        return torch.cat([module.eval()(x) for x in given])


def permuted(module, seed=3):
    """The same function, its units in a random order."""
    spec = fit.PermutationSpec.derive(ft.model_of(module))
    other = copy.deepcopy(module)
    libemr.torch.load_into(other, fit.Permutation.random(spec, seed).apply(ft.model_of(module)))
    return other


def sums(*arrays):
    z = torch.cat([*(x.detach().double().reshape(-1, x.shape[-1]) for x in arrays)], 1)
    z = torch.cat([z, torch.ones(len(z), 1, dtype=torch.float64)], 1)
    return (z.T @ z).numpy()


def near(got, wanted, tolerance=1e-9):
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(wanted), rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------- watching


def test_what_a_module_reads():
    net, given = made(MLP, 1), batches(2, 10, 6)
    gram = libemr.Gram()
    with gram.watch(net):
        for x in given:
            net(x)
    x = torch.cat(given)
    near(gram.matrix("fc0"), sums(x))
    near(gram.matrix("fc1"), sums(torch.relu(net.fc0(x))), 1e-5)
    assert [site.n_rows for site in gram.sites.values()] == [50, 50, 50]
    net(x)  # not watched any more
    assert gram.sites["fc0"].n_rows == 50


def test_two_modules_row_by_row():
    a, b, given = made(MLP, 1), made(MLP, 2), batches(2, 10, 6)
    gram = libemr.Gram(n_models=2)
    with gram.watch(a, b, sites=["fc1"]), torch.no_grad():
        for x in given:
            b(x)
            a(x)
    x = torch.cat(given)
    near(gram.matrix("fc1"), sums(torch.relu(a.fc0(x)), torch.relu(b.fc0(x))), 1e-5)
    assert list(gram.sites) == ["fc1"]


def test_the_sites_of_a_gram_that_has_some():
    net, gram = made(MLP, 1), libemr.Gram({"fc2": 12})
    with gram.watch(net):
        net(batches(2, 10, 6)[0])
    assert list(gram.sites) == ["fc2"] and gram.sites["fc2"].n_rows == 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(dtype):
    net, x = made(MLP, 1).to(dtype), batches(2, 10, 6)[0].to(dtype)
    gram = libemr.Gram()
    with gram.watch(net), torch.no_grad():
        net(x)
    near(gram.matrix("fc0"), sums(x))
    with torch.no_grad():
        near(gram.matrix("fc1"), sums(torch.relu(net.fc0(x))))


CONVOLUTIONS = [
    nn.Conv2d(3, 5, 3),
    nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    nn.Conv2d(3, 5, 4, padding="same", padding_mode="reflect"),
    nn.Conv1d(3, 5, 3, padding=1),
    nn.Conv3d(3, 5, 2, stride=2, padding="valid"),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_a_convolution_multiplies_patches_by_its_weight(layer):
    x = torch.randn(2, 3, *[9] * (layer.weight.dim() - 2))
    patches = rows_module.patches_of(layer, x)
    y = patches @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(y.movedim(-1, 1), layer(x), rtol=1e-5, atol=1e-5)


def test_pixels_and_patches(monkeypatch):
    monkeypatch.setattr(rows_module, "PIECE", 4000)  # a sample or a few at a time
    net, x = made(ResNet, 1), batches(2, 7, 3, 8, 8)[0]
    pixels, patches = libemr.Gram(), libemr.Gram()
    seen = {}
    net.layer1[0].conv2.register_forward_pre_hook(lambda m, args: seen.update(x=args[0].clone()))
    with (
        pixels.watch(net, convolutions="pixels"),
        patches.watch(net, convolutions="patches"),
        torch.no_grad(),
    ):
        net(x)
    near(pixels.matrix("layer1.0.conv2"), sums(seen["x"].movedim(1, -1)))
    near(
        patches.matrix("layer1.0.conv2"), sums(nn.functional.unfold(seen["x"], 3, padding=1).transpose(1, 2))
    )
    near(patches.matrix("conv1"), sums(nn.functional.unfold(x, 3, padding=1, stride=2).transpose(1, 2)))
    assert pixels.sites["fc"].n_rows == 7
    with pytest.raises(ValueError, match="is the input of a convolution"):
        libemr.Gram().watch(net)
    with pytest.raises(ValueError, match="none of patches, pixels"):
        libemr.Gram().watch(net, convolutions="voxels")


def test_inputs_that_are_written_over_later():
    """ReLU in place, and a sum in place: what waits for the other model is what was read."""
    a, given = made(ResNet, 1), batches(2, 4, 3, 8, 8)
    b, gram = copy.deepcopy(a), libemr.Gram(n_models=2)
    with gram.watch(a, b, convolutions="pixels"), torch.no_grad():
        for x in given:
            a(x), b(x)
    for name, site in gram.sites.items():
        s, d = gram.matrix(name), site.widths[0]
        near(s[:d, :d], s[d:-1, d:-1])
        near(s[:d, :d], s[:d, d:-1])


def test_padding_does_not_count(monkeypatch):
    monkeypatch.setattr(rows_module, "PIECE", 200)  # a sample at a time

    class Tagger(MLP):
        def forward(self, x, attention_mask=None):
            return super().forward(x)

    net, x = made(Tagger, 1), batches(2, 4, 7, 6)[0]
    mask = (torch.arange(7) < torch.tensor([[7], [3], [5], [1]])).long()
    kept = x[mask.bool()]

    def rows(*args, keep=None, by_batch=False, **kwargs):
        gram = libemr.Gram()
        with gram.watch(net, keep=keep) as watching, torch.no_grad():
            if by_batch:
                watching.keep(mask)
            net(*args, **kwargs)
        return gram.matrix("fc0")

    near(rows(x, attention_mask=mask), sums(kept))
    near(rows(x, mask), sums(kept))
    near(rows(x), sums(x))
    near(rows(x, mask, keep=False), sums(x))
    near(rows(x, keep=lambda module, args, kwargs: mask), sums(kept))
    near(rows(x, by_batch=True), sums(kept))
    near(rows(x, keep=lambda *_: torch.tensor([True, False, True, False])), sums(x[::2]))
    near(rows(x, keep=lambda *_: mask.flatten()), sums(kept))
    near(rows(x[:, 0], mask), sums(x[:, 0]))  # a row for each sample
    near(rows(x[:, 0], mask * (torch.arange(4) > 1)[:, None]), sums(x[2:, 0]))
    with pytest.raises(libemr.Mismatch, match="the mask"):
        rows(x, torch.ones(4, 6))


def test_rows_that_do_not_belong_together():
    a, b, x = made(MLP, 1), made(MLP, 2), batches(2, 10, 6)[0]
    gram = libemr.Gram(n_models=2)
    with pytest.raises(libemr.OutOfOrder, match="model 0 reads another batch"), gram.watch(a, b):
        a(x)
        a(x)
    with pytest.raises(libemr.Mismatch, match=r"rows of shapes \[10\] and \[9\]"), gram.watch(a, b):
        a(x)
        b(x[:9])
    with (
        pytest.raises(libemr.Mismatch, match="model 0 has read a batch that others have not"),
        gram.watch(a, b),
    ):
        a(x)
    with pytest.raises(libemr.OutOfOrder, match="no layer that is watched has run"), gram.watch(a, b):
        pass
    with pytest.raises(libemr.Mismatch, match="as many modules"):
        gram.watch(a)
    with pytest.raises(libemr.NotFound, match="no layer reads site 'fc9'"):
        gram.watch(a, b, sites=["fc9"])
    with pytest.raises(libemr.NotFound, match="no module has the weight 'fc9.weight'"):
        gram.watch(a, b, spec=[fit.Layer("fc9.weight", "fc9")])
    fresh = libemr.Gram()
    with pytest.raises(libemr.NonFinite), fresh.watch(a):
        a(x * float("nan"))
    with pytest.raises(ZeroDivisionError), gram.watch(a, b):
        a(x)
        1 / 0
    assert not any(m._forward_pre_hooks for module in (a, b) for m in module.modules())


def test_layers_are_found_by_their_weights():
    """Where neither names nor a map tell which module has a tensor."""
    net, other = made(MLP, 1), nn.Sequential()
    for name in ("fc0", "fc1", "fc2"):
        other.append(copy.deepcopy(getattr(net, name)))
        other.append(nn.ReLU())
    x, spec = batches(2, 10, 6)[0], fit.PermutationSpec.derive(ft.model_of(net))
    gram, by_map = libemr.Gram(), libemr.Gram()
    with pytest.raises(libemr.NotFound):
        gram.watch(other, spec=spec)
    with gram.watch(other, spec=spec, models=[ft.model_of(net)]), torch.no_grad():
        other(x)
    names = {f"{2 * i}.{kind}": f"fc{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}
    with by_map.watch(other, names=names), torch.no_grad():
        other(x)
    near(gram.matrix("fc1"), sums(torch.relu(net.fc0(x))), 1e-5)
    near(by_map.matrix("fc1"), gram.matrix("fc1"))


def test_layers_of_an_architecture_that_is_not_known():
    net = nn.ModuleDict(
        {
            "a": nn.Linear(4, 3),
            "b": nn.Conv1d(4, 4, 3, bias=False),
            "grouped": nn.Conv1d(4, 4, 1, groups=2),
            "up": nn.ConvTranspose1d(4, 4, 2),
            "words": nn.Embedding(5, 4),
            "norm": nn.LayerNorm(4),
        }
    )
    assert ft.layers_in(net) == [fit.Layer("a.weight", "a", "a.bias"), fit.Layer("b.weight", "b", None)]
    for name in ("grouped", "up"):
        layer = [fit.Layer(f"{name}.weight", name)]
        with pytest.raises(libemr.Unsupported, match="transposed or grouped"):
            libemr.Gram().watch(net, spec=layer, convolutions="patches")


# ---------------------------------------------------------------------------------------------------- merging


def wanted_regmean(weights, inputs, off_diagonal=0.9):
    moments = []
    for x in inputs:
        x = x.double().reshape(-1, x.shape[-1])
        g = x.T @ x / len(x)
        moments.append(off_diagonal * g + (1 - off_diagonal) * torch.diag(torch.diag(g)))
    mean = sum(weights) / len(weights)
    right = sum(g @ (w.double().flatten(1) - mean.flatten(1)).T for g, w in zip(moments, weights))
    change = torch.linalg.pinv(sum(moments), hermitian=True, rtol=1e-12) @ right
    return mean.double() + change.T.reshape(mean.shape)


def test_regmean_is_the_formula():
    nets, given = [made(MLP, 1), made(MLP, 2)], [batches(3, 10, 6), batches(4, 30, 6)]
    merged = ft.regmean(nets, given, off_diagonal=0.7)
    for i in range(3):
        reads = []
        for net, own in zip(nets, given):
            x = torch.cat(own)
            for k in range(i):
                x = torch.relu(getattr(net, f"fc{k}")(x))
            reads.append(x.detach())
        wanted = wanted_regmean([getattr(net, f"fc{i}").weight.detach() for net in nets], reads, 0.7)
        near(merged.model[f"fc{i}.weight"].read(), wanted.float(), 1e-5)
    assert not nets[0].training
    target = copy.deepcopy(nets[0])
    merged.load_into(target)
    near(target.fc1.weight.detach(), merged.model["fc1.weight"].read())
    wanted = merged.model["fc2.weight"].read()
    merged.load_into(nets[1])  # one of those that it was made of
    near(nets[1].fc2.weight.detach(), wanted)
    with pytest.raises(ValueError, match="closed"):
        merged.model["fc0.weight"].read()


def test_regmean_of_convolutions_and_heads_apart():
    nets, given = [made(ResNet, 1), made(ResNet, 2)], [batches(3, 12, 3, 8, 8), batches(4, 12, 3, 8, 8)]
    nets[1].train()
    inside = [part.training for part in nets[1].modules()]
    merged = ft.regmean(nets, given, exclude=["fc.weight", "fc.bias"])
    assert [part.training for part in nets[1].modules()] == inside
    assert "fc.weight" not in merged.model
    x = [nn.functional.unfold(torch.cat(own), 3, padding=1, stride=2).transpose(1, 2) for own in given]
    wanted = wanted_regmean([net.conv1.weight.detach() for net in nets], x)
    near(merged.model["conv1.weight"].read(), wanted.float(), 1e-5)
    target = made(ResNet, 5)
    head = target.fc.weight.detach().clone()
    with pytest.raises(libemr.Mismatch, match="that .* lacks"):
        merged.load_into(target)
    near(target.fc.weight.detach(), head)
    merged.load_into(target, strict=False)
    near(target.conv1.weight.detach(), wanted.float(), 1e-5)
    near(target.fc.weight.detach(), head)


def test_regmean_of_what_no_spec_is_known_of():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(2)]
    given = [[(x, None) for x in batches(seed, 20, 5)] for seed in (1, 2)]
    with pytest.raises(TypeError, match="give forward="):
        ft.regmean(nets, given)
    merged = ft.regmean(nets, given, forward=lambda module, batch: module(batch[0]))
    wanted = wanted_regmean(
        [n[0].weight.detach() for n in nets], [torch.cat([x for x, _ in g]) for g in given]
    )
    near(merged.model["0.weight"].read(), wanted.float(), 1e-5)
    with pytest.raises(libemr.InvalidArgument, match="one for each"):
        ft.regmean(nets, given[:1])
    with pytest.raises(libemr.OutOfOrder, match="no layer that is watched has run"):
        ft.regmean(nets, [[], []])


@pytest.mark.parametrize("kind, shape", [(MLP, (40, 6)), (ResNet, (12, 3, 8, 8))])
def test_a_permuted_copy_is_found_out(kind, shape):
    a, given = made(kind, 1), batches(2, *shape)
    b, wanted = permuted(a), outputs(a, given)
    assert not torch.equal(next(a.parameters()), next(b.parameters()))
    near(outputs(b, given), wanted, 1e-4)
    calls = [
        ft.match(a, b),
        ft.match(a, b, given),
        ft.mudsc(a, b, given),
        ft.mudsc(a, b, given, zip=True, within=0.0),
        ft.pleas(a, b, given),
    ]
    for merged in calls:
        assert merged.widths == {}
        target = made(kind, 9)
        merged.load_into(target)
        near(outputs(target, given), wanted, 1e-3)
    for merged in calls[:3]:
        for name, tensor in a.state_dict().items():
            near(merged.aligned[name].read(), tensor, 0)
        assert merged.report.n_groups == len(merged.spec.groups)


def test_merged_side_by_side_it_goes_into_a_wider_module():
    a, b, given = made(MLP, 1), made(MLP, 2), batches(3, 40, 6)
    merged = ft.pleas(a, b, given, pairs={"hidden.*": 0.25})
    assert merged.widths == {"hidden.0": 28, "hidden.1": 21}
    with pytest.raises(libemr.Mismatch, match=r"wider now \(hidden.0: 28, hidden.1: 21\)"):
        merged.load_into(copy.deepcopy(a))
    wider = MLP((6, 28, 21, 4))
    merged.load_into(wider)
    wanted = (outputs(a, given) + outputs(b, given)) / 2
    average = ft.pleas(a, b, given, by="weights", pairs={"hidden.*": 1.0})
    plain = MLP()
    average.load_into(plain)
    error = [float((outputs(net, given) - wanted).square().mean()) for net in (wider, plain)]
    assert error[0] < error[1] < float(wanted.var())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind, shape", [(MLP, (40, 6)), (ResNet, (12, 3, 8, 8))])
def test_modules_on_a_device(kind, shape):
    a, given = made(kind, 1), batches(2, *shape)
    b, wanted, grams = permuted(a).cuda(), outputs(a, given), [libemr.Gram(), libemr.Gram()]
    for gram, device in zip(grams, ("cpu", "cuda")):
        a.to(device)
        with gram.watch(a, convolutions="patches"), torch.no_grad():
            for x in given:
                a(x.to(device))
    for site in grams[0].sites:
        near(grams[1].matrix(site), grams[0].matrix(site), 1e-2)
    target = made(kind, 9).cuda()
    ft.match(a, b, given).load_into(target)
    near(outputs(target, [x.cuda() for x in given]).cpu(), wanted, 1e-3)


def test_loading_leaves_a_module_as_it_was_when_it_fails():
    net = made(MLP, 1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    bad = {**{name: torch.zeros_like(w) for name, w in before.items()}, "fc2.weight": torch.zeros(4, 13)}
    with pytest.raises(libemr.Mismatch, match="fc2.weight"):
        libemr.torch.load_into(net, bad)
    model = libemr.Model.of({name: torch.zeros_like(w) for name, w in before.items() if name != "fc2.bias"})
    model.add_computed("fc2.bias", "F32", (4,), lambda first, count: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        libemr.torch.load_into(net, model)
    for name, tensor in net.state_dict().items():
        near(tensor, before[name], 0)
    half = net.to(torch.bfloat16)
    libemr.torch.load_into(half, {name: w * 1.001 for name, w in before.items()})
    near(half.fc1.weight.detach(), (before["fc1.weight"] * 1.001).bfloat16(), 0)


def test_batch_norm_is_measured_anew():
    net, given = made(ResNet, 1), batches(2, 30, 3, 8, 8, n=4)
    with torch.no_grad():
        wanted = torch.stack([net.conv1(x).mean((0, 2, 3)) for x in given]).mean(0)
    momentum = net.bn1.momentum
    ft.renew_batch_norm(net, given)
    near(net.bn1.running_mean, wanted, 1e-5)
    assert net.bn1.momentum == momentum and not net.bn1.training
