"""test_analysis.py - statistics, kinship, searches, trials and heads, as numpy computes them."""

import math

import numpy as np
import pytest

import libemr


def changes(base, tasks):
    return [
        np.concatenate([(task[name] - base[name]).ravel() for name in ("layer.weight", "layer.bias")]).astype(
            np.float64
        )
        for task in tasks.values()
    ]


def test_statistics_of_the_model(base, tasks):
    french, german = changes(base, tasks)
    with libemr.Statistics(base, tasks, quantiles=[0.5]) as statistics:
        assert statistics.plan().params == len(french)
        model = statistics.run().model
        assert np.allclose(
            model.products, [[french @ french, french @ german], [german @ french, german @ german]]
        )
        assert np.allclose(model.distances[0, 1], np.square(french - german).sum())
        assert model.same_signs[0, 1] == ((french > 0) & (german > 0) | (french < 0) & (german < 0)).sum()
        assert model.quantiles[0, 0] == np.float32(np.sort(np.abs(french))[(len(french) + 1) // 2 - 1])
        moments = model.moments(1)
        assert math.isclose(moments.norm, np.linalg.norm(german)) and math.isclose(
            moments.mean, german.mean()
        )
        assert [group.name for group in statistics.tensors] == ["layer.weight", "layer.bias"]
        assert sum(group.count for group in statistics.kinds) == model.count == len(french)
        assert len(statistics.layers) == 1
        assert np.allclose(
            model.kinship("cosine")[0, 1], french @ german / np.linalg.norm(french) / np.linalg.norm(german)
        )
        assert statistics.split_kinship().shape == (2, 2)


def test_a_ragged_matrix_is_refused():
    with pytest.raises(ValueError, match="3 rows"):
        libemr.kinship_mean([[1.0], [0.5], [0.3]])


def test_kinship(base, tasks):
    french, german = changes(base, tasks)
    matrix = libemr.kinship(base, tasks)
    assert np.allclose(matrix, np.corrcoef(french, german))
    assert math.isclose(libemr.kinship_mean(matrix), matrix[0, 1])
    assert np.isclose(libemr.kinship(base, tasks, "euclid")[0, 1], np.linalg.norm(french - german))


def test_statistics_of_a_bundles_tasks(base, bundle):
    opened = {name: task.open(base) for name, task in bundle.items()}
    assert libemr.kinship(base, opened).shape == (2, 2)


def test_what_statistics_refuse(base, tasks):
    with pytest.raises(ValueError, match="metric"):
        libemr.kinship(base, tasks, "manhattan")
    with pytest.raises(libemr.OutOfOrder):
        libemr.Statistics(base, tasks).groups("model")
    statistics = libemr.Statistics(base, tasks)
    statistics.close()
    with pytest.raises(ValueError, match="is closed"):
        statistics.run()
    bad = {**base, "layer.bias": np.full(128, np.nan, np.float32)}
    with pytest.raises(libemr.NonFinite) as raised:
        libemr.kinship(base, {"bad": bad})
    assert (raised.value.task, raised.value.tensor) == ("bad", "layer.bias")


def test_names_say_what_tensors_are():
    assert libemr.kind_of("model.layers.3.self_attn.q_proj.weight") == "q"
    assert libemr.layer_of("model.layers.3.self_attn.q_proj.weight") == 3
    assert libemr.layer_of("lm_head.weight") is None


def test_a_search_finds_the_best_pair():
    """A model is a set of names; its score is how many of the wanted it has, less those that are not."""
    models, released = {0: {"a"}, 1: {"b"}, 2: {"c"}}, []

    def merge(candidate):
        models[candidate.number] = models[candidate.first] | models[candidate.second]

    def evaluate(candidate):
        return len(models[candidate.number] & {"a", "c"}) - 0.1 * len(models[candidate.number])

    search = libemr.Search("abc", k=2, partner="lowest")
    result = search.run(
        merge=merge,
        evaluate=evaluate,
        similarity=lambda a, b: len(models[a] & models[b]),
        release=released.append,
    )
    assert models[result.best.number] == {"a", "c"} and result.end in ("steady", "generations")
    assert len(list(search)) == result.n_models == len(models)
    assert result.best.number not in released and set(released) <= set(models)


def test_trials_are_drawn_and_the_best_is_found():
    seen = []

    def evaluate(trial):
        seen.append(trial.values)
        return None if trial.number == 3 else -abs(trial.values[0] - 0.5)

    best = libemr.trials(evaluate, 2, n_trials=20, seed=5)
    assert len(seen) == 20 and all(
        values == libemr.trial_values(5, i + 1, 2) for i, values in enumerate(seen)
    )
    assert best.score == max(-abs(values[0] - 0.5) for i, values in enumerate(seen) if i != 2)


class Broken(Exception):
    pass


@pytest.mark.parametrize("where", ["merge", "evaluate", "similarity", "release"])
def test_what_a_search_function_raises_comes_back(where):
    def broken(*arguments):
        raise Broken(where)

    functions = {
        "merge": lambda c: None,
        "evaluate": lambda c: -float(c.number),
        "similarity": lambda a, b: 0.5,
        "release": lambda number: None,
    }
    with pytest.raises(Broken, match=where):
        libemr.Search(["a", "b", "c", "d"], k=1, pool="top").run(**{**functions, where: broken})


def test_trials_raise_too():
    with pytest.raises(Broken):
        libemr.trials(lambda trial: (_ for _ in ()).throw(Broken()), 1, n_trials=2)
    with pytest.raises(libemr.NotFound):
        libemr.trials(lambda trial: None, 1, n_trials=2)
    with pytest.raises(libemr.NotFound):
        libemr.Search(["a"]).run(merge=lambda c: None, evaluate=lambda c: None)


@pytest.fixture
def classifiers():
    rng = np.random.default_rng(0)
    shared = {"body": rng.standard_normal((8, 8), np.float32)}
    return {
        name: {
            **shared,
            "head.weight": rng.standard_normal((n, 8), np.float32),
            "head.bias": rng.standard_normal(n, np.float32),
        }
        for name, n in (("spam", 2), ("topic", 3))
    }


def test_heads_side_by_side(classifiers):
    heads = libemr.Heads(classifiers, ["head.*"], kinds={"spam": "sigmoid"})
    assert heads.n_rows == 5 and set(heads.tensors) == {"head.weight", "head.bias"}
    assert heads.groups == [
        libemr.HeadGroup("spam", 0, 2, "sigmoid"),
        libemr.HeadGroup("topic", 2, 3, "softmax"),
    ]
    padded = heads.open_task("topic")["head.weight"].read()
    assert not padded[:2].any() and np.array_equal(padded[2:], classifiers["topic"]["head.weight"])
    assert not heads.open_base(classifiers["spam"])["head.bias"].read().any()
    joined = heads.open_joined()
    assert np.array_equal(
        joined["head.bias"].read(), np.concatenate([task["head.bias"] for task in classifiers.values()])
    )
    model = libemr.Model.of({"body": classifiers["spam"]["body"]})
    heads.set_metadata(model)
    assert libemr.groups_of(model) == heads.groups
    heads.close()
    assert joined["head.weight"].read().shape == (5, 8)


def test_combined_heads_tell_their_groups(classifiers):
    base = {"body": classifiers["spam"]["body"]}
    model = libemr.combine("task_arithmetic", base, classifiers, heads=["head.*"], weight=1.0)
    assert [(group.task, group.count) for group in libemr.groups_of(model)] == [("spam", 2), ("topic", 3)]


def test_each_group_has_a_softmax_of_its_own():
    logits = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    groups = [libemr.HeadGroup("a", 0, 2), libemr.HeadGroup("b", 2, 3), libemr.HeadGroup("c", 5, 1)]
    found = libemr.group_softmax(logits, groups)
    for group in groups[:2]:
        z = np.exp(logits[:, group.first : group.first + group.count].astype(np.float64))
        assert np.allclose(
            found[:, group.first : group.first + group.count], z / z.sum(1, keepdims=True), atol=1e-7
        )
    assert np.allclose(found[:, 5], 1 / (1 + np.exp(-logits[:, 5])), atol=1e-7)
    assert libemr.group_softmax(logits, groups, logits) is logits and np.array_equal(logits, found)
    with pytest.raises(ValueError, match="'b'"):
        libemr.group_softmax(logits, [libemr.HeadGroup("b", 4, 3)])


def test_what_heads_refuse(classifiers):
    with pytest.raises(libemr.InvalidArgument, match="tail"):
        libemr.Heads(classifiers, ["tail.*"])
    with pytest.raises(ValueError, match="french"):
        libemr.Heads(classifiers, ["head.*"], kinds={"french": "softmax"})
    with pytest.raises(libemr.Mismatch) as raised:
        libemr.Heads(
            {**classifiers, "wide": {**classifiers["spam"], "head.weight": np.ones((2, 9), np.float32)}},
            ["head.*"],
        )
    assert (raised.value.task, raised.value.tensor) == ("wide", "head.weight")
