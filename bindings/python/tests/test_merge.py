"""test_merge.py - merges in one call, step by step and pushed; to every place; and what stops them."""

import io

import numpy as np
import pytest
from conftest import make_base, make_task

import libemr


def saved(report, tmp_path):
    report.bundle.save(tmp_path / "saved.emr", replace=True)
    return (tmp_path / "saved.emr").read_bytes()


def test_paths_models_and_arrays_make_one_bundle(base, tasks, tmp_path):
    expected = saved(libemr.merge(base, tasks), tmp_path)
    paths = {}
    for name, arrays in {"base": base, **tasks}.items():
        paths[name] = tmp_path / f"{name}.safetensors"
        libemr.Model.of(arrays).write(paths[name])
    opened = {name: libemr.Model(path) for name, path in paths.items()}
    buffers = {name: path.read_bytes() for name, path in paths.items()}
    for given in (paths, opened, buffers):
        for threads, memory in ((1, None), (3, "32MiB")):
            out = tmp_path / "out.emr"
            report = libemr.merge(
                given["base"],
                [(t, given[t]) for t in tasks],
                out,
                replace=True,
                threads=threads,
                memory=memory,
            )
            assert out.read_bytes() == expected and report.bundle is None
    file = io.BytesIO()
    libemr.merge(base, tasks, file)
    assert file.getvalue() == expected


def test_folders_bring_their_files(base, tasks, tmp_path):
    for name, arrays in {"base": base, **tasks}.items():
        (tmp_path / name).mkdir()
        libemr.Model.of(arrays).write(tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
    folders = {t: tmp_path / t for t in tasks}
    libemr.merge(tmp_path / "base", folders, tmp_path / "all.emr")
    with libemr.Bundle(tmp_path / "all.emr") as bundle:
        bundle["german"].write(tmp_path / "again/", tmp_path / "base")
        weights = bundle["german"].apply(tmp_path / "base")
        assert list(weights) == list(base)
        assert bundle["french"].apply(tmp_path / "base", weights) is weights
    assert (tmp_path / "again" / "config.json").read_text() == '{"name": "german"}'
    plain = libemr.merge(tmp_path / "base", folders, side_files=False).bundle
    assert [t.name for t in plain.tensors] == list(base)


def test_what_the_report_says(base, tasks):
    report = libemr.merge(base, tasks, measure=True, rescale_per="tensor")
    assert list(report.tasks) == ["french", "german"] and report.summary.n_merged == 2
    french = report.tasks["french"]
    assert (
        0.5 < french.density < 1
        and 0 < french.fidelity.error < 1
        and not french.empty_mask
        and french.zeroed == 0
    )
    assert [(t.name, t.action) for t in report.tensors] == [
        ("layer.weight", "merge"),
        ("layer.bias", "merge"),
        ("steps", "keep"),
    ]
    assert report.bundle.info.rescale_per == "tensor"


def test_modulators(base, tasks):
    mixed = libemr.merge(
        base, tasks, modulator="sign", modulators={"german": libemr.Modulation("levels", n_levels=16)}
    ).bundle
    assert [mixed[t].modulation.kind for t in mixed] == ["sign", "levels"] and mixed[
        "german"
    ].modulation.n_levels == 16
    errors = [np.abs(mixed[t].apply(base)["layer.weight"] - tasks[t]["layer.weight"]).mean() for t in tasks]
    assert errors[1] < errors[0] < 0.1
    two = libemr.merge(
        base, tasks, modulator=libemr.Modulation("two-sided", rescale="l2", rescale_per="row")
    ).bundle
    assert two["french"].modulation == libemr.Modulation(
        "two_sided", 0, 0, "l2", "row", "agree", None, False, 0
    )
    for wrong in ("signs", libemr.Modulation("levels", n_levels=5)):
        with pytest.raises(ValueError):
            libemr.merge(base, tasks, modulator=wrong)
    with pytest.raises(ValueError, match="'x', which is no task"):
        libemr.merge(base, tasks, modulators={"x": "sign"})
    with pytest.raises(TypeError, match="not a int"):
        libemr.merge(base, tasks, modulator=3)


def test_policies(base, tasks):
    del tasks["french"]["layer.bias"]
    with pytest.raises(libemr.Mismatch) as failure:
        libemr.merge(base, tasks)
    assert (failure.value.task, failure.value.tensor) == ("french", "layer.bias")
    for options, absent in (
        ({"on_missing": "absent"}, True),
        ({"absent": ["*.bias"]}, True),
        ({"base_globs": ["*.bias"]}, False),
    ):
        bundle = libemr.merge(base, tasks, **options).bundle
        assert ("layer.bias" not in bundle["french"].open(base)) == absent
    with pytest.raises(TypeError, match="a list of texts"):
        libemr.merge(base, tasks, private="*.bias")
    with pytest.raises(ValueError, match="on_missing is 'never', which is none of absent, base, error"):
        libemr.merge(base, tasks, on_missing="never")
    with pytest.raises(TypeError):
        libemr.merge(base, tasks, unknown=1)


def test_nan_and_shapes_name_the_culprit(base, tasks):
    tasks["german"]["layer.weight"][3, 4] = np.nan
    with pytest.raises(libemr.NonFinite, match="NaN") as failure:
        libemr.merge(base, tasks)
    assert (failure.value.task, failure.value.tensor) == ("german", "layer.weight") and isinstance(
        failure.value, ArithmeticError
    )
    assert libemr.merge(base, tasks, on_nonfinite="zero").tasks["german"].zeroed == 1
    tasks["german"]["layer.weight"] = np.zeros((64, 127), np.float32)
    with pytest.raises(libemr.Mismatch) as failure:
        libemr.merge(base, tasks)
    assert (failure.value.task, failure.value.tensor) == ("german", "layer.weight")


def test_nothing_is_left_of_a_failure(base, tasks, tmp_path):
    out = tmp_path / "all.emr"
    tasks["german"]["layer.weight"][3, 4] = np.inf
    with pytest.raises(libemr.NonFinite):
        libemr.merge(base, tasks, out)
    assert list(tmp_path.iterdir()) == []
    out.write_text("mine")
    with pytest.raises(FileExistsError) as failure:
        libemr.merge(base, tasks, out)
    assert failure.value.file == str(out)
    with pytest.raises(libemr.NonFinite):
        libemr.merge(base, tasks, out, replace=True)
    assert out.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(libemr.IOFailed) as failure:
        libemr.merge(base, tasks, tmp_path / "no" / "folder.emr")
    assert failure.value.errno == 2
    with pytest.raises(libemr.LimitExceeded, match="memory"):
        libemr.merge(make_base(), {"t": make_task(base, 1)}, memory=1000)


def test_extending_gives_what_merging_at_once_gives(base, tasks, tmp_path):
    third = make_task(base, 3)
    expected = saved(libemr.merge(base, {**tasks, "polish": third}, extendable=True), tmp_path)
    first = libemr.merge(base, tasks, extendable=True)
    report = libemr.merge(base, {"polish": third}, extend=first.bundle)
    assert saved(report, tmp_path) == expected and list(report.tasks) == ["french", "german", "polish"]
    with pytest.raises(libemr.Unsupported):
        libemr.merge(base, {"polish": third}, extend=libemr.merge(base, tasks).bundle)


def test_pushed_piece_by_piece(base, tasks, tmp_path):
    expected = saved(libemr.merge(base, tasks), tmp_path)
    pushed = ("layer.weight", "layer.bias")

    def described(arrays):
        return {name: libemr.Pushed(a.dtype, a.shape) if name in pushed else a for name, a in arrays.items()}

    with libemr.Merge() as merge:
        merge.set_base(described(base))
        for task in tasks:
            merge.add_task(task, described(tasks[task]))
        merge.set_output(tmp_path / "pushed.emr")
        merge.begin()
        assert merge.expected("french")[0].name == "layer.weight"
        left = {
            source: b"".join(arrays[name].tobytes() for name in pushed)
            for source, arrays in {None: base, **tasks}.items()
        }
        while any(left.values()):
            for source, data in left.items():
                taken = merge.push(source, data[:1000])
                left[source] = data[taken:]
        assert merge.expected(None) == (None, 0) and merge.expected(1) == (None, 0)
        with pytest.raises(KeyError):
            merge.push("nobody", b"1")
        assert merge.finish().tasks["german"].density > 0.5
    assert (tmp_path / "pushed.emr").read_bytes() == expected


def test_a_push_that_ends_early(base):
    with libemr.Merge() as merge:
        merge.set_base(base)
        merge.add_task("t", {**base, "layer.weight": libemr.Pushed("F32", (64, 128))})
        merge.set_output(None)
        with pytest.raises(libemr.OutOfOrder):
            merge.push("t", b"1234")
        merge.begin()
        merge.push("t", b"1234")
        with pytest.raises(libemr.OutOfOrder, match="layer.weight") as failure:
            merge.finish()
        assert (failure.value.task, failure.value.tensor) == ("t", "layer.weight")


def test_what_is_pushed_cannot_be_read(base):
    model = libemr.Model.of({"w": libemr.Pushed("F32", (3,))})
    with pytest.raises(libemr.OutOfOrder):
        model["w"].read()


class Collector:
    def __init__(self):
        self.parts = []

    def unified(self, part):
        self.parts.append(("unified", part))

    def mask(self, part):
        self.parts.append(("mask", part))

    def rescalers(self, part):
        self.parts.append(("rescalers", part))


@pytest.mark.parametrize("modulator, scales", [("mask", 1), ("two_sided", 2)])
def test_a_sink_gets_what_the_bundle_would(base, tasks, modulator, scales):
    options = {"modulator": modulator, "rescale_per": "row", "unified_dtype": "BF16"}
    bundle, sink = libemr.merge(base, tasks, **options).bundle, Collector()
    with libemr.Merge(**options) as merge:
        merge.set_base(base)
        merge.set_sink(sink)
        for task in tasks:
            merge.add_task(task, tasks[task])
        report = merge.run()
    assert report.bundle is None
    got = {
        (kind, p.tensor, p.task): b"".join(
            q.data for k, q in sink.parts if (k, q.tensor, q.task) == (kind, p.tensor, p.task)
        )
        for kind, p in sink.parts
    }
    unified = np.frombuffer(got["unified", 0, None], np.uint16).astype(np.uint32) << 16
    assert np.array_equal(unified.view(np.float32), bundle.unified()["layer.weight"].read().ravel())
    bits = np.unpackbits(np.frombuffer(got["mask", 0, 1], np.uint8), bitorder="little")
    assert np.array_equal(bits.astype(bool), bundle["german"].mask()["layer.weight"].read().ravel())
    with bundle["german"].modulator() as modulator_:
        assert np.array_equal(
            np.frombuffer(got["rescalers", 0, 1], np.float32), modulator_.rescalers("layer.weight")
        )
        assert len(got["rescalers", 0, 1]) == 4 * 64 * scales


def test_a_sink_that_raises_stops_it(base, tasks):
    class Full(Collector):
        def mask(self, part):
            raise LookupError("no more room")

    with libemr.Merge() as merge:
        merge.set_base(base)
        merge.set_sink(Full())
        merge.add_task("french", tasks["french"])
        with pytest.raises(LookupError, match="no more room"):
            merge.run()


def test_the_plan_reads_nothing(base):
    def unread(first, count):
        raise AssertionError("it is read")

    model = libemr.Model.of()
    model.add_computed("layer.weight", "F32", (64, 128), unread)
    with libemr.Merge() as merge:
        merge.set_base({"layer.weight": base["layer.weight"]})
        merge.add_task("t", model)
        plan = merge.plan()
        assert (
            plan.summary.merged_params == 8192
            and plan.tensors[0].reason
            and plan.tensors[0].dtype is libemr.DType.F32
        )
        with pytest.raises(libemr.Error):
            merge.add_task("late", model)


def test_a_journal_lets_it_go_on(tmp_path):
    base = make_base(rows=3000, columns=500)
    tasks = {"a": make_task(base, 1), "b": make_task(base, 2)}
    expected = io.BytesIO()
    libemr.merge(base, tasks, expected)
    out = tmp_path / "all.emr"

    def stop(done, total):
        if done > total * 0.6:
            raise InterruptedError("enough")

    def run(progress=None):
        with libemr.Merge(threads=1, memory="16MiB", progress=progress) as merge:
            merge.set_base(base)
            for name, task in tasks.items():
                merge.add_task(name, task)
            merge.set_output(out, journal=True, interval="1MiB")
            merge.run()

    with pytest.raises(InterruptedError, match="enough"):
        run(stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.emr.journal.partial", "all.emr.partial"]
    seen = []
    run(lambda done, total: seen.append(done))
    assert out.read_bytes() == expected.getvalue() and [p.name for p in tmp_path.iterdir()] == ["all.emr"]
    with pytest.raises(ValueError, match="journal"):
        libemr.merge(base, tasks, io.BytesIO(), journal=True)


def test_a_closed_merge_is_refused(base):
    merge = libemr.Merge()
    merge.close()
    for use in (
        lambda: merge.set_base(base),
        merge.plan,
        merge.run,
        merge.begin,
        merge.finish,
        lambda: merge.add_task("t", base),
        lambda: merge.set_output(None),
        lambda: merge.push(None, b""),
    ):
        with pytest.raises(ValueError, match="the merge is closed"):
            use()


def test_tasks_need_names_and_a_base(base, tasks):
    with libemr.Merge() as merge, pytest.raises(libemr.OutOfOrder):
        merge.run()
    with pytest.raises(libemr.Exists, match="french"):
        libemr.merge(base, [("french", tasks["french"]), ("french", tasks["german"])])
    for name in ("", "x" * 256):
        with pytest.raises(ValueError):
            libemr.merge(base, {name: tasks["french"]})


def parts_of(base, tasks, n, folder, **options):
    """In any order, to paths and file-like objects by turns."""
    parts = []
    for i in reversed(range(n)):
        out = io.BytesIO() if i % 2 else folder / f"{i}.part"
        with libemr.Merge(**options) as merge:
            merge.set_base(base)
            for name, task in tasks.items():
                merge.add_task(name, task)
            merge.set_part(i, n)
            merge.set_output(out)
            report = merge.run()
        assert report.tasks == {} and report.bundle is None and report.summary.bytes_in >= 0
        parts.append(out)
    return parts


def test_parts_make_the_bundle(base, tasks, tmp_path):
    for options in ({}, {"rescale_per": "row", "block_params": 4096, "embed_base": True}, {"modulator": "sign"}):
        expected = saved(libemr.merge(base, tasks, **options), tmp_path)
        for n in (1, 3):
            parts = parts_of(base, tasks, n, tmp_path, **options)
            libemr.join(parts, tmp_path / "all.emr", replace=True)
            assert (tmp_path / "all.emr").read_bytes() == expected
            taken = [part if isinstance(part, io.BytesIO) else part.read_bytes() for part in parts]
            with libemr.join(taken, threads=2, memory="64MiB") as bundle:
                bundle.save(tmp_path / "again.emr", replace=True)
            assert (tmp_path / "again.emr").read_bytes() == expected
            for part in parts:
                if not isinstance(part, io.BytesIO):
                    part.unlink()


def test_parts_that_are_not_all_of_one_merge(base, tasks, tmp_path):
    parts = parts_of(base, tasks, 3, tmp_path)
    (tmp_path / "other").mkdir()
    foreign = parts_of(base, tasks, 4, tmp_path / "other")
    with pytest.raises(libemr.NotFound, match="part 1"):
        libemr.join(parts[:2])
    with pytest.raises(libemr.InvalidArgument, match="part 2 of 3"):
        libemr.join([*parts, parts[1]])
    with pytest.raises(libemr.Mismatch, match="another merge"):
        libemr.join([parts[1], foreign[0]])
    with pytest.raises(libemr.FormatError, match="is no part"):
        libemr.join([b"x" * 100])
    with pytest.raises(libemr.CorruptData, match="part 0"):
        libemr.join([parts[1].getvalue()[:-1], *parts[:1], *parts[2:]], tmp_path / "x.emr")
    assert not (tmp_path / "x.emr").exists()
    with pytest.raises(TypeError):
        libemr.join("all.part")
    with libemr.Merge() as merge:
        merge.set_base(base)
        merge.add_task("a", base)
        merge.set_part(0, 2)
        merge.set_output(None)
        with pytest.raises(ValueError, match="path or a file-like object"):
            merge.run()
        with pytest.raises(libemr.InvalidArgument):
            merge.set_part(2, 2)


def test_which_parts_are_its_own(base, tasks, tmp_path):
    def merge_of(**options):
        merge = libemr.Merge(**options)
        merge.set_base(base)
        for name, task in tasks.items():
            merge.add_task(name, task)
        return merge

    path = tmp_path / "0.part"
    with merge_of() as merge:
        merge.set_part(0, 2)
        merge.set_output(path)
        merge.run()
    with merge_of() as merge:
        with pytest.raises(libemr.OutOfOrder):
            merge.check_part(path)
        merge.set_part(0, 2)
        for part in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
            merge.check_part(part)
        with pytest.raises(libemr.FormatError, match="mine: is no part"):
            merge.check_part(b"no part", name="mine")
        with pytest.raises(FileNotFoundError):
            merge.check_part(tmp_path / "absent.part")
        merge.set_part(1, 2)
        with pytest.raises(libemr.Mismatch, match=r"0\.part: is part 1 of this merge, not part 2"):
            merge.check_part(path)
    with merge_of(tie="negative") as merge, pytest.raises(libemr.Mismatch, match="another merge"):
        merge.set_part(0, 2)
        merge.check_part(path)
