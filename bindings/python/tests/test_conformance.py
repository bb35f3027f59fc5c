"""test_conformance.py - the cases of bindings/conformance, done through this package: the same bits, numbers
and sentences as in C. And some of it once more, by formulas in numpy that share no code with the library."""

import json
import pathlib

import numpy as np
import pytest
from conformance_support import OnPurpose, expect_keys
from conformance_world import World, do_step

import libemr

FILE = json.loads((pathlib.Path(__file__).parents[2] / "conformance" / "cases.json").read_text())
counts = {"cases": 0, "checks": 0}


def expect_error(error, expected):
    if expected["status"] == "own":
        assert isinstance(error, OnPurpose), repr(error)
        return
    assert isinstance(error, libemr.Error), repr(error)
    found = {"status": error.name}
    if "text" in expected:
        found["text"] = str(error)
        found.update(
            {
                part: getattr(error, part)
                for part in ("file", "task", "tensor")
                if getattr(error, part) is not None
            }
        )
    assert found == expected


def check_step(world, step):
    if "error" in step:
        with pytest.raises((libemr.Error, OnPurpose)) as raised:
            do_step(world, step)
        expect_error(raised.value, step["error"])
        counts["checks"] += len(step["error"])
        return
    result = do_step(world, step)
    for key, value in step.get("expect", {}).items():
        assert result[key] == value, (key, step)
        counts["checks"] += 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: case["name"].replace(" ", "_"))
def test_case(case, threads, tmp_path):
    expect_keys(case, "name given steps")
    world = World(threads, tmp_path)
    counts["cases"] += threads == 1
    for step in FILE["given"].get(case.get("given"), []) + case["steps"]:
        check_step(world, step)


def test_counts(capsys):
    """All cases were done, unless some were chosen by name."""
    with capsys.disabled():
        print(f"\nconformance: {counts['cases']} cases, {counts['checks']} checks")
    assert counts["cases"] <= len(FILE["cases"])


# Independent truth


@pytest.fixture
def merged(tmp_path):
    """The world of the cases, merged with the paper's masks; float64 values of all tensors of F32."""
    world = World(1, tmp_path)
    for step in FILE["given"]["world"]:
        world.model(step)
    world.merge({"bundle": "all", "base": "base", "tasks": [["t0", "m0"], ["t1", "m1"], ["t2", "m2"]]})
    return world


def values(model, name):
    return np.frombuffer(model[name].read_bytes(), np.float32).reshape(model[name].shape)


F32_TENSORS = ["s.scalar", "v.bias", "w.wide", "w.cube"]


def test_election_is_the_papers(merged):
    unified = merged.bundles["all"].unified()
    for name in F32_TENSORS:
        taus = np.stack(
            [values(merged.models[f"m{k}"], name) - values(merged.models["base"], name) for k in range(3)]
        )
        sign = np.sign(taus.sum(axis=0))
        largest = np.where(np.sign(taus) == sign, np.abs(taus), 0).max(axis=0)
        assert np.array_equal(values(unified, name), sign * largest), name


def test_masks_and_rescalers_are_the_papers(merged):
    bundle, base = merged.bundles["all"], merged.models["base"]
    unified = bundle.unified()
    for k, task in enumerate(bundle.values()):
        mask, sums = task.mask(), np.zeros(2)
        for name in unified:
            whole = np.float64(floats(merged.models[f"m{k}"], name)) - floats(base, name)
            tau, u = whole.astype(np.float32), values(unified, name)
            bits = np.frombuffer(mask[name].read_bytes(), bool).reshape(tau.shape)
            assert np.array_equal(bits, tau * u > 0), name
            sums += np.abs(tau).sum(dtype=np.float64), np.abs(u[bits]).sum(dtype=np.float64)
        assert task.info.rescaler == np.float32(sums[0] / sums[1])


def floats(model, name):
    return np.asarray(model[name].read_floats()).reshape(model[name].shape)


def test_a_task_is_base_plus_masked_unified(merged):
    bundle, base = merged.bundles["all"], merged.models["base"]
    unified = bundle.unified()
    for task in bundle.values():
        model, mask, scale = task.open(base), task.mask(), np.float32(task.info.rescaler)
        for name in F32_TENSORS:
            bits = np.frombuffer(mask[name].read_bytes(), bool).reshape(model[name].shape)
            expected = np.where(bits, values(base, name) + scale * values(unified, name), values(base, name))
            assert np.array_equal(values(model, name), expected), (task.name, name)


def test_an_average_is_an_average(merged):
    models = [merged.models[f"m{k}"] for k in range(3)]
    average = libemr.combine("linear", None, {f"t{k}": m for k, m in enumerate(models)}, weight=1.0)
    for name in F32_TENSORS:
        expected = sum(values(m, name).astype(np.float64) for m in models) / 3
        assert np.allclose(values(average, name), expected, rtol=2e-7, atol=1e-12), name


def test_kinship_is_a_cosine(merged):
    names = list(merged.models["base"])
    taus = [
        np.concatenate(
            [
                (floats(merged.models[f"m{k}"], n) - floats(merged.models["base"], n)).reshape(-1)
                for n in names
            ]
        ).astype(np.float64)
        for k in range(3)
    ]
    expected = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in taus] for a in taus]
    tasks = {f"t{k}": merged.models[f"m{k}"] for k in range(3)}
    assert np.allclose(libemr.kinship(merged.models["base"], tasks, "cosine"), expected, rtol=1e-12)
    assert np.allclose(libemr.kinship(merged.models["base"], tasks), np.corrcoef(taus), rtol=1e-10)
