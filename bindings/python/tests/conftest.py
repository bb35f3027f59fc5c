"""conftest.py - a base with two tasks, the bundle that they make, and what a measurement in a process of its
own needs."""

import subprocess
import sys

import numpy as np
import pytest

import libemr


def make_base(seed=0, rows=64, columns=128):
    rng = np.random.default_rng(seed)
    return {
        "layer.weight": rng.standard_normal((rows, columns), np.float32),
        "layer.bias": rng.standard_normal(columns, np.float32),
        "steps": np.arange(4, dtype=np.int64),
    }


def make_task(base, seed, scale=0.1):
    rng = np.random.default_rng(seed)
    return {
        name: (w + np.float32(scale) * rng.standard_normal(w.shape, np.float32)).astype(w.dtype)
        if w.dtype == np.float32
        else w.copy()
        for name, w in base.items()
    }


@pytest.fixture
def base():
    return make_base()


@pytest.fixture
def tasks(base):
    return {"french": make_task(base, 1), "german": make_task(base, 2)}


@pytest.fixture
def bundle(base, tasks):
    made = libemr.merge(base, tasks).bundle
    yield made
    made.close()


@pytest.fixture
def bundle_bytes(bundle, tmp_path):
    bundle.save(tmp_path / "all.emr")
    return (tmp_path / "all.emr").read_bytes()


@pytest.fixture
def run_python():
    """Runs a script in a process of its own; returns what it prints."""

    def run(script, *arguments, check=True, **options):
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done

    return run
