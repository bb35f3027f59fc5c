"""test_distributed.py - merges by several worker processes of Dask, one of them killed in the middle."""

import os
import signal

import numpy as np
import pytest
from conftest import make_base, make_task

import libemr

distributed = pytest.importorskip("distributed")

import libemr.distributed  # noqa: E402


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Relative paths, too, are those of this process."""
    monkeypatch.chdir(tmp_path)
    base = make_base(rows=600)
    tasks = {"french": make_task(base, 1), "german": make_task(base, 2)}
    for name, arrays in {"base": base, **tasks}.items():
        (tmp_path / name).mkdir()
        libemr.Model.of(arrays).write(tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
    return "base/", {task: tmp_path / task for task in tasks}


OPTIONS = {"block_params": 4096, "rescale_per": "row"}


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_it_is_the_bundle_of_one_machine(client, files, tmp_path):
    for number, options in enumerate(({}, OPTIONS, {"modulators": {"german": libemr.Modulation("sign")}})):
        libemr.merge(*files, tmp_path / "whole.emr", replace=True, **options)
        for parts in (None, 1, 7):
            seen = []
            libemr.distributed.merge(
                client,
                *files,
                "all.emr",
                parts=parts,
                replace=True,
                progress=lambda *step, seen=seen: seen.append(step),
                **options,
            )
            assert (tmp_path / "all.emr").read_bytes() == (tmp_path / "whole.emr").read_bytes(), (number, parts)
            assert len(seen) == (parts or 12) and seen == sorted(seen) and seen[-1][0] == seen[-1][1] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.emr", "base", "french", "german", "whole.emr"]


def test_a_worker_that_is_killed(client, files, tmp_path):
    libemr.merge(*files, tmp_path / "whole.emr", **OPTIONS)
    killed = []

    def kill_one(done, total):
        if not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    libemr.distributed.merge(client, *files, tmp_path / "all.emr", parts=60, progress=kill_one, **OPTIONS)
    assert (tmp_path / "all.emr").read_bytes() == (tmp_path / "whole.emr").read_bytes()
    client.wait_for_workers(3)
    assert killed and killed[0] not in client.run(os.getpid).values()


def test_what_is_done_is_taken_up(client, files, tmp_path):
    libemr.merge(*files, tmp_path / "whole.emr", **OPTIONS)
    weights = tmp_path / "german" / "model.safetensors"
    good = weights.read_bytes()
    with libemr.Model(weights) as model:
        arrays = {name: np.array(model[name].read()) for name in model}
    arrays["layer.weight"][-1, -1] = np.nan
    libemr.Model.of(arrays).write(weights, replace=True)
    with pytest.raises(libemr.NonFinite) as failure:
        libemr.distributed.merge(client, *files, "all.emr", parts=20, **OPTIONS)
    assert (failure.value.task, failure.value.tensor) == ("german", "layer.weight")
    client.restart()  # nobody is at a part any more
    folder = tmp_path / "all.emr.parts"
    before = inodes(folder)
    assert before and not (tmp_path / "all.emr").exists()
    weights.write_bytes(good)
    with pytest.raises(libemr.Mismatch, match=r"all\.emr\.parts.*another merge"):
        libemr.distributed.merge(client, *files, "all.emr", **OPTIONS, tie="negative")
    after = {}
    libemr.distributed.merge(
        client, *files, "all.emr", progress=lambda done, total: done == total and after.update(inodes(folder)), **OPTIONS
    )
    assert len(after) == 20 and before.items() <= after.items() and not folder.exists()
    assert (tmp_path / "all.emr").read_bytes() == (tmp_path / "whole.emr").read_bytes()


def test_parts_of_others_are_made_anew_on_request(client, files, tmp_path):
    libemr.merge(*files, tmp_path / "whole.emr", **OPTIONS)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "00002-of-00003.part").write_bytes(b"no part")
    (folder / "other").write_text("mine")
    call = lambda **more: libemr.distributed.merge(client, *files, "all.emr", folder=folder, **OPTIONS, **more)  # noqa: E731
    with pytest.raises(libemr.FormatError, match=r"00002-of-00003\.part"):
        call()
    call(replace=True)
    assert (tmp_path / "all.emr").read_bytes() == (tmp_path / "whole.emr").read_bytes()
    assert [path.name for path in folder.iterdir()] == ["other"]


def test_what_cannot_be(client, files, tmp_path, base):
    with pytest.raises(TypeError, match="base is a dict, not a path"):
        libemr.distributed.merge(client, base, files[1], "all.emr")
    with pytest.raises(TypeError, match="'french'"):
        libemr.distributed.merge(client, files[0], {"french": base}, "all.emr")
    with pytest.raises(TypeError, match="out is a NoneType"):
        libemr.distributed.merge(client, *files, None)
    (tmp_path / "there.emr").write_text("mine")
    with pytest.raises(FileExistsError):
        libemr.distributed.merge(client, *files, "there.emr")
    with pytest.raises(libemr.IOFailed, match="none"):
        libemr.distributed.merge(client, "none", files[1], "all.emr")
    with pytest.raises(libemr.InvalidArgument, match="65536"):
        libemr.distributed.merge(client, *files, "all.emr", parts=70000)
    with pytest.raises(ValueError, match="'x', which is no task"):
        libemr.distributed.merge(client, *files, "all.emr", modulators={"x": "sign"})
    assert not (tmp_path / "all.emr").exists() and (tmp_path / "there.emr").read_text() == "mine"
