"""test_combine.py - combined models as numpy computes them, own methods in Python, and what is refused."""

import numpy as np
import pytest

import libemr


def arithmetic(base, tasks, weights):
    return {
        name: base[name] + sum(w * (tasks[task][name] - base[name]) for task, w in weights.items())
        for name in ("layer.weight", "layer.bias")
    }


def assert_near(model, expected):
    for name, values in expected.items():
        assert np.allclose(model[name].read(), values, atol=1e-6), name


def test_parameters_for_all_a_task_and_some_tensors(base, tasks):
    model = libemr.combine("task_arithmetic", base, tasks, weight={"french": 1.0, "german": 0.5})
    assert_near(model, arithmetic(base, tasks, {"french": 1.0, "german": 0.5}))
    model = libemr.combine(
        "task_arithmetic",
        base,
        tasks,
        parameters={
            "weight": 1.0,
            ("weight", "german"): 0.5,
            ("weight", "french", "*.bias"): 0.25,
            ("weight", None, "nothing.*"): 9.0,
        },
    )
    assert_near(
        model,
        {
            "layer.weight": arithmetic(base, tasks, {"french": 1.0, "german": 0.5})["layer.weight"],
            "layer.bias": arithmetic(base, tasks, {"french": 0.25, "german": 0.5})["layer.bias"],
        },
    )
    assert np.array_equal(model["steps"].read(), base["steps"])


def test_written_as_it_is_read(base, tasks, tmp_path):
    lazy = libemr.combine("ties", base, tasks, density=0.5, weight=1.0)
    libemr.combine(
        "ties", base, tasks, tmp_path / "merged.safetensors", density=0.5, weight=1.0, memory="1MiB"
    )
    written = libemr.Model(tmp_path / "merged.safetensors")
    assert all(np.array_equal(written[name].read(), lazy[name].read()) for name in base)


def test_a_plan_before_anything_is_read(base, tasks):
    with libemr.Combination("slerp") as combination:
        for name, task in tasks.items():
            combination.add_task(name, task)
        combination.set_parameter("t", 0.5)
        assert combination.plan().combined_params == 64 * 128 + 128
        actions = {tensor.name: tensor.action for tensor in combination.tensors()}
        model = combination.open()
        with pytest.raises(libemr.OutOfOrder):
            combination.set_parameter("t", 0.1)
    assert actions == {"layer.weight": "combine", "layer.bias": "combine", "steps": "copy"}
    assert model["layer.weight"].read().shape == (64, 128)


def test_methods_are_data():
    methods = libemr.methods()
    assert {"linear", "task_arithmetic", "ties", "dare_ties", "slerp"} <= set(methods)
    density = next(parameter for parameter in methods["ties"].parameters if parameter.name == "density")
    assert (density.least, density.most, density.per_task) == (0.0, 1.0, True)
    assert methods["ties"].base == "required" and methods["slerp"].max_tasks == 2


class Scaled(libemr.Method):
    """The mean of the changes, times a number."""

    name = "scaled"
    parameters = [libemr.Parameter("scale", initial=1.0, least=0.0, most=2.0)]

    def combine(self, chunk):
        chunk.out[:] = sum(chunk.parameter(i, "scale") * x for i, x in enumerate(chunk.inputs)) / len(
            chunk.inputs
        )


class Norms(libemr.Stage):
    """The sum of squares of each input."""

    def n_found(self, tensor):
        return tensor.n_inputs

    def add_sums(self, chunk, sums):
        for i, x in enumerate(chunk.inputs):
            sums[i] += float(np.square(x.astype(np.float64)).sum())

    def settle(self, tensor, found):
        for i in range(tensor.n_inputs):
            found[i] = found[i] ** 0.5


class Directions(libemr.Method):
    """The mean of directions: each change over its length in the tensor."""

    name = "directions"
    stages = [Norms()]

    def combine(self, chunk):
        chunk.out[:] = sum(x / np.float32(chunk.tensor.found[i]) for i, x in enumerate(chunk.inputs))


class Largest(libemr.Cut):
    def list_keys(self, chunk, list, keys):
        keys[:] = np.abs(sum(chunk.inputs))

    def place_cut(self, tensor, cut):
        return 0, tensor.count // 4


class Quarter(libemr.Method):
    """The quarter of the sum that is largest."""

    name = "quarter"
    stages = [Largest()]

    def combine(self, chunk):
        total = sum(chunk.inputs)
        chunk.out[:] = np.where(chunk.is_above(0, np.abs(total)), total, 0)


def change(base, task, name):
    return task[name] - base[name]


def test_own_methods(base, tasks):
    name = "layer.weight"
    french, german = (change(base, task, name) for task in tasks.values())
    model = libemr.combine(Scaled(), base, tasks, scale={"french": 2.0, "german": 0.5})
    assert np.allclose(model[name].read(), base[name] + (2 * french + german / 2) / 2, atol=1e-6)
    model = libemr.combine(Directions(), base, tasks)
    assert np.allclose(
        model[name].read(),
        base[name] + french / np.linalg.norm(french) + german / np.linalg.norm(german),
        atol=1e-6,
    )
    total = french + german
    least = np.sort(np.abs(total).ravel())[-total.size // 4]
    model = libemr.combine(Quarter(), base, tasks)
    assert np.allclose(model[name].read(), base[name] + np.where(np.abs(total) >= least, total, 0), atol=1e-6)


def test_own_methods_draw_the_same_bits(base, tasks):
    class Dropped(libemr.Method):
        name = "dropped"

        def combine(self, chunk):
            chunk.out[:] = sum(
                x * (chunk.tensor.draw(i, chunk.first, chunk.n) < 2**31) for i, x in enumerate(chunk.inputs)
            )

    first, again = (libemr.combine(Dropped(), base, tasks, seed=7)["layer.weight"].read() for _ in range(2))
    other = libemr.combine(Dropped(), base, tasks, seed=8)["layer.weight"].read()
    assert np.array_equal(first, again) and not np.array_equal(first, other)


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    "where", ["combine", "add_sums", "n_found", "settle", "check", "row_length", "needed_stages"]
)
def test_what_an_own_method_raises_comes_back(base, tasks, where, tmp_path):
    def broken(self, *arguments):
        raise Broken(where)

    kind = type("Bad", (Directions,), {where: broken} if hasattr(libemr.Method, where) else {})
    if not hasattr(libemr.Method, where):
        kind.stages = [type("BadStage", (Norms,), {where: broken})()]
    with pytest.raises(Broken, match=where):
        libemr.combine(kind(), base, tasks, tmp_path / "merged.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused(base, tasks):
    with pytest.raises(libemr.NotFound, match="'tiess'"):
        libemr.combine("tiess", base, tasks)
    with pytest.raises(libemr.NotFound, match="density"):
        libemr.combine("ties", base, tasks, densty=0.5)
    with pytest.raises(libemr.InvalidArgument, match="density"):
        libemr.combine("ties", base, tasks, density=1.5)
    with pytest.raises(libemr.NotFound, match="'spanish'"):
        libemr.combine("ties", base, tasks, weight={"spanish": 1.0})
    with pytest.raises(ValueError, match="on_nonfinite"):
        libemr.combine("ties", base, tasks, on_nonfinite="ignore")
    with pytest.raises(libemr.Mismatch) as raised:
        libemr.combine(
            "ties",
            base,
            {**tasks, "short": {**base, "layer.weight": base["layer.weight"][:10]}},
            density=1.0,
            weight=1.0,
        )
    assert (raised.value.task, raised.value.tensor) == ("short", "layer.weight")


def test_a_model_outlives_its_combination_and_method(base, tasks):
    import gc

    model = libemr.combine(Scaled(), base, {name: dict(task) for name, task in tasks.items()})
    gc.collect()
    assert np.isfinite(model["layer.weight"].read()).all()


def test_a_stage_that_raised_is_never_taken_for_one_that_found_something(base, tasks):
    class Sum(libemr.Stage):
        fails = True

        def n_found(self, tensor):
            return 1

        def add_sums(self, chunk, sums):
            if self.fails:
                raise ZeroDivisionError
            sums[0] += 1

    class Own(libemr.Method):
        name, stages = "own", [Sum()]

        def combine(self, chunk):
            chunk.out[:] = chunk.tensor.found[0]

    model = libemr.combine(Own(), base, tasks)
    with pytest.raises(ZeroDivisionError):
        model["layer.weight"].read()
    Own.stages[0].fails = False
    with pytest.raises(ZeroDivisionError):
        model["layer.weight"].read()
    assert libemr.combine(Own(), base, tasks)["layer.weight"].read() is not None


@pytest.mark.parametrize("input", [-1, 2, 1 << 40])
@pytest.mark.parametrize("call", ["parameter", "draw"])
def test_inputs_that_are_not_there(input, call, base, tasks):
    class Own(libemr.Method):
        name, parameters = "own", [libemr.Parameter("weight", 1.0)]

        def combine(self, chunk):
            arguments = ("weight",) if call == "parameter" else (0, 1)
            getattr(chunk.tensor, call)(input, *arguments)

    with pytest.raises(IndexError, match=f"has 2 inputs, and none of number {input}"):
        libemr.combine(Own(), base, tasks)["layer.weight"].read()
