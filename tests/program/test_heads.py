"""test_heads.py EMR - tasks with labels of their own: one head of all, in a combined model and in a bundle."""
import json
import pathlib
import struct

from program import *

WIDTH = 4
ROWS = {"tone": 3, "spam": 1, "topic": 2}
LABELS = {"tone": ["bad", "so-so", "good"], "spam": ["spam"], "topic": None}
FIRST = {"tone": 0, "spam": 3, "topic": 4}
N = sum(ROWS.values())


def config_of(task):
    config = {"architectures": ["XForSequenceClassification"], "hidden_size": WIDTH}
    if LABELS[task]:
        config["id2label"] = {str(i): name for i, name in enumerate(LABELS[task])}
        config["label2id"] = {name: i for i, name in enumerate(LABELS[task])}
    if task == "spam":
        config["problem_type"] = "multi_label_classification"
    return config


def weights_of(task, prefix=""):
    seed = 1 + list(ROWS).index(task)
    return {prefix + "body.weight": ([2, WIDTH], [seed * 0.5 + i for i in range(2 * WIDTH)]),
            prefix + "score.bias": ([ROWS[task]], [seed + 0.25 * i for i in range(ROWS[task])]),
            prefix + "score.weight": ([ROWS[task], WIDTH], [seed * 10.0 + i for i in range(ROWS[task] * WIDTH)])}


def fill_folders(prefix=""):
    save("base/model.safetensors", {"body.weight": ([2, WIDTH], [0.0] * 2 * WIDTH)})
    pathlib.Path("base/config.json").write_text('{"architectures": ["XModel"]}')
    for task in ROWS:
        save(f"{task}/model.safetensors", weights_of(task, prefix))
        pathlib.Path(f"{task}/config.json").write_text(json.dumps(config_of(task)))
    return ["--base", "base", *(word for task in ROWS for word in ("--task", task))]


def values_of(task, name, prefix=""):
    return weights_of(task, prefix)[prefix + name][1]


def metadata(path):
    raw = pathlib.Path(path).read_bytes()
    return json.loads(raw[8:8 + struct.unpack_from("<Q", raw)[0]])["__metadata__"]


def joined_labels():
    return [f"{task}/{(LABELS[task] or ['LABEL_0', 'LABEL_1'])[i]}" for task in ROWS for i in range(ROWS[task])]


def check_config(path):
    config = json.loads(pathlib.Path(path).read_text())
    assert config["id2label"] == {str(i): name for i, name in enumerate(joined_labels())}, config
    assert config["label2id"] == {name: i for i, name in enumerate(joined_labels())}, config
    assert config["num_labels"] == N and config["hidden_size"] == WIDTH, config
    assert "problem_type" not in config, config


GROUPS = [{"task": "tone", "first": 0, "count": 3, "kind": "softmax", "labels": ["bad", "so-so", "good"]},
          {"task": "spam", "first": 3, "count": 1, "kind": "sigmoid", "labels": ["spam"]},
          {"task": "topic", "first": 4, "count": 2, "kind": "softmax", "labels": ["LABEL_0", "LABEL_1"]}]


def test_one_model_of_all():
    words = fill_folders()
    emr("combine", "--method", "task_arithmetic", *words, "--set", "weight=0.5", "--heads", "score.*", "-o", "all/")
    got = load("all/model.safetensors")
    for name in ("score.bias", "score.weight"):
        assert got[name] == [x for task in ROWS for x in values_of(task, name)], name
    assert got["body.weight"] == [0.5 * sum(x) for x in zip(*(values_of(t, "body.weight") for t in ROWS))]
    check_config("all/config.json")
    assert json.loads(metadata("all/model.safetensors")["emr.head_groups"]) == GROUPS


def test_padded_heads_go_through_the_method():
    words = fill_folders()
    emr("combine", "--method", "task_arithmetic", *words, "--set", "weight=0.5", "--heads", "score.*",
        "--combine-heads", "-o", "all.safetensors")
    got = load("all.safetensors")
    assert got["score.bias"] == [0.5 * x for task in ROWS for x in values_of(task, "score.bias")]
    emr("combine", "--method", "task_arithmetic", *words, "--set", "weight=0.5", "--combine-heads", "-o", "x.safetensors",
        status=2).says("--heads")


def test_a_plan_names_heads():
    words = fill_folders()
    plan = emr("combine", "--method", "task_arithmetic", *words, "--set", "weight=1", "--heads", "score.*", "--dry-run",
               "--json").json
    assert {t["name"]: t["action"] for t in plan["tensors"] if "score" in t["name"]} == {
        "score.bias": "head", "score.weight": "head"}, plan
    assert not pathlib.Path("all").exists()


def padded(task, name, width):
    before = [0.0] * FIRST[task] * width
    return before + values_of(task, name) + [0.0] * (N - FIRST[task] - ROWS[task]) * width


def check_task(task, prefix="", folder="y"):
    got = load(f"{folder}/model.safetensors")
    assert got[prefix + "score.weight"] == padded(task, "score.weight", WIDTH), got
    assert got[prefix + "score.bias"] == padded(task, "score.bias", 1), got
    assert set(got) == {prefix + name for name in ("body.weight", "score.weight", "score.bias")}
    check_config(f"{folder}/config.json")


def test_a_bundles_tasks_have_one_shape():
    words = fill_folders()
    emr("merge", *words, "--heads", "score.*", "-o", "o.emr")
    for task in ROWS:
        emr("apply", "o.emr", "--task", task, "--base", "base", "-o", "y", "--force")
        check_task(task)


def test_a_renamed_task_comes_back_under_its_own_names():
    words = fill_folders("model.")
    emr("merge", *words, "--rename", "model.=", "--heads", "score.*", "-o", "o.emr")
    emr("apply", "o.emr", "--task", "topic", "--base", "base", "-o", "y")
    check_task("topic", "model.")


def test_a_base_with_another_head_stays_itself():
    words = fill_folders()
    save("base/model.safetensors", {"body.weight": ([2, WIDTH], [0.0] * 2 * WIDTH),
                                    "score.weight": ([9, WIDTH], [7.0] * 9 * WIDTH)})
    emr("merge", *words, "--heads", "score.*", "-o", "o.emr")
    emr("apply", "o.emr", "--task", "spam", "--base", "base", "-o", "y")
    check_task("spam")
    emr("combine", "--method", "task_arithmetic", *words, "--set", "weight=1", "--heads", "score.*", "-o", "all.safetensors")
    assert load("all.safetensors")["score.weight"] == [x for t in ROWS for x in values_of(t, "score.weight")]


def test_what_is_no_head_is_refused():
    words = fill_folders()
    emr("merge", *words, "--heads", "skore.*", "-o", "o.emr", status=2).says("'skore.*' matches no float tensor")
    save("topic/model.safetensors", {**weights_of("topic"), "score.weight": ([2, 3], [1.0] * 6)})
    emr("merge", *words, "--heads", "score.*", "-o", "o.emr", status=1).says("score.weight", "in more than its rows")
    emr("combine", "--method", "linear", *words[2:], "--set", "weight=1", "--heads", "score.*", "-o", "o.safetensors",
        status=1).says("score.weight", "in more than its rows")
    assert not pathlib.Path("o.emr").exists() and not pathlib.Path("o.safetensors").exists()


def test_a_configuration_that_is_none_is_refused():
    words = fill_folders()
    pathlib.Path("spam/config.json").write_text("[1")
    emr("merge", *words, "--heads", "score.*", "-o", "o.emr", status=1).says("config.json")


run(globals())
