"""test_adapters.py - adapters that agree, and what a model becomes with one."""

import json

import numpy as np
import pytest

import libemr


def adapter(seed, **settings):
    rng = np.random.default_rng(seed)
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q"],
        "base_model_name_or_path": "m",
        **settings,
    }
    return libemr.Model.of(
        {
            "base_model.model.q.lora_A.weight": rng.standard_normal((2, 8)).astype(np.float32),
            "base_model.model.q.lora_B.weight": rng.standard_normal((6, 2)).astype(np.float32),
        },
        name=f"adapter {seed}",
        metadata={"adapter_config.json": json.dumps(config)},
    )


def test_a_model_with_an_adapter():
    base, one = {"q.weight": np.ones((6, 8), np.float32)}, adapter(0)
    model = libemr.adapters.apply(base, one)
    a, b = one["base_model.model.q.lora_A.weight"].read(), one["base_model.model.q.lora_B.weight"].read()
    one.close()
    assert np.allclose(model["q.weight"].read(), 1 + 2 * b @ a, rtol=1e-5, atol=1e-5)
    with pytest.raises(libemr.Unsupported):
        libemr.adapters.apply(base, base)


def test_adapters_that_agree_and_that_do_not():
    libemr.adapters.agree({"a": adapter(0), "b": adapter(1, r=4)})
    different = {"a": adapter(0), "b": adapter(1, base_model_name_or_path="other")}
    with pytest.raises(libemr.Mismatch, match="base_model_name_or_path"):
        libemr.adapters.agree(different)
    libemr.adapters.agree(different, differ=["base_model_name_or_path"])


def test_adapters_are_merged_over_nothing():
    tasks = {"a": adapter(0), "b": adapter(1)}
    base = libemr.adapters.ones(tasks["a"])
    assert not base["base_model.model.q.lora_A.weight"].read().any()
    bundle = libemr.merge(base, tasks, modulator="levels").bundle
    assert json.loads(bundle["b"].metadata["adapter_config.json"])["r"] == 2
    assert libemr.adapters.rank_dimension("base_model.model.q.lora_A.weight") == 0
    assert (
        libemr.adapters.rank_dimension("q.lora_B.weight") == 1
        and libemr.adapters.rank_dimension("q.weight") is None
    )
