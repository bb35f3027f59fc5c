"""test_io.py - file-like objects of every kind, good and bad, as sources and as targets."""

import io
import threading

import numpy as np
import pytest
from conftest import make_base

import libemr


class Remote:
    """Like a remote file: no readinto, no fileno, `seek` and `read` alone; counts, and fails where it is told
    to."""

    name = "remote.emr"

    def __init__(self, data, fail_at=None, error=ConnectionError("the line is dead"), most=1 << 30):
        self.data, self.at, self.fail_at, self.error, self.most, self.reads = data, 0, fail_at, error, most, 0
        self.inside = threading.Lock()

    def seek(self, offset, whence=0):
        assert self.inside.acquire(blocking=False), "two threads at a time"
        self.inside.release()
        self.at = offset + (len(self.data) if whence == 2 else 0)
        return self.at

    def read(self, n):
        assert self.inside.acquire(blocking=False), "two threads at a time"
        try:
            self.reads += 1
            if self.fail_at is not None and self.at + n > self.fail_at:
                raise self.error
            piece = self.data[self.at : self.at + min(n, self.most)]
            self.at += len(piece)
            return piece
        finally:
            self.inside.release()


def test_a_remote_file_is_read_where_it_is_needed(bundle_bytes, base):
    expected = libemr.Bundle(bundle_bytes)["french"].apply(base)
    for most in (1 << 30, 1000):
        remote = Remote(bundle_bytes, most=most)
        bundle = libemr.Bundle(remote)
        assert bundle.name == "remote.emr"
        weights = bundle["french"].apply(base, threads=4)
        assert all(np.array_equal(weights[name], expected[name]) for name in expected) and remote.reads > 2


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("the line is dead"),
        TimeoutError("too slow"),
        ValueError("odd"),
        KeyboardInterrupt(),
        MemoryError(),
        SystemExit(3),
    ],
)
def test_what_reading_raises_comes_out_as_itself(bundle_bytes, base, error):
    remote = Remote(bundle_bytes)
    bundle = libemr.Bundle(remote)
    remote.fail_at, remote.error = 0, error
    for use in (
        bundle.verify,
        lambda: bundle["french"].apply(base, threads=4)["layer.weight"],
        lambda: bundle["french"].write(io.BytesIO(), base),
    ):
        with pytest.raises(type(error)) as failure:
            use()
        assert failure.value is error
    remote.fail_at = None
    bundle.verify()


def test_a_file_that_ends_early_or_is_text(bundle_bytes, tmp_path):
    remote = Remote(bundle_bytes)
    bundle = libemr.Bundle(remote)
    remote.data = remote.data[:3000]
    with pytest.raises(EOFError, match="too early"):
        bundle.verify()
    (tmp_path / "text").write_text("x" * 100)
    with (tmp_path / "text").open() as file, pytest.raises(Exception) as failure:
        libemr.Model(file)
    assert isinstance(failure.value, (TypeError, io.UnsupportedOperation))
    closed = io.BytesIO(b"123")
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        libemr.Model(closed)
    with pytest.raises(ValueError, match="closed file"):
        libemr.Model.of({"w": b"1"}).write(closed)


class Pipe:
    """Takes a few bytes at a time, and raises when it is full."""

    def __init__(self, takes=1 << 30, room=1 << 30, answer=True):
        self.data, self.takes, self.room, self.answer = b"", takes, room, answer

    def write(self, piece):
        if len(self.data) + len(piece) > self.room:
            raise BrokenPipeError(32, "nobody reads")
        piece = piece[: self.takes] if self.answer else piece
        self.data += piece
        return len(piece) if self.answer else None


def test_written_front_to_back_to_anything(base, tasks, bundle_bytes):
    for pipe in (Pipe(), Pipe(takes=100), Pipe(answer=False)):
        libemr.merge(base, tasks, pipe)
        assert pipe.data == bundle_bytes
    for use in (
        lambda to: libemr.merge(base, tasks, to),
        lambda to: libemr.Model.of(base).write(to),
        lambda to: libemr.Bundle(bundle_bytes).drop(["french"], to),
    ):
        with pytest.raises(BrokenPipeError, match="nobody reads") as failure:
            use(Pipe(room=100))
        assert failure.value.errno == 32
        with pytest.raises(BlockingIOError, match="takes no more"):
            use(Pipe(takes=0))
        with pytest.raises(TypeError, match="no path and no file that can be written"):
            use(7)


def test_a_target_may_not_keep_memory_of_the_librarys(base):
    class Keeper(io.RawIOBase):
        kept = []

        def writable(self):
            return True

        def write(self, piece):
            self.kept.append(piece)
            return len(piece)

    libemr.Model.of(base).write(Keeper())
    with pytest.raises(ValueError, match="released"):
        bytes(Keeper.kept[0])


def test_computed_tensors_are_read_by_many_threads_and_may_fail(tmp_path):
    base = make_base(rows=2000, columns=256)
    seen = set()

    def weights(first, count):
        seen.add(threading.get_ident())
        return base["layer.weight"].ravel()[first : first + count] + np.float32(0.5)

    model = libemr.Model.of(name="task")
    model.add_computed("layer.weight", "F32", (2000, 256), weights)
    only = {"layer.weight": base["layer.weight"]}
    libemr.merge(only, {"t": model}, threads=4)
    assert seen

    def failing(first, count):
        if first > 300000:
            raise LookupError("gone")
        return weights(first, count)

    bad = libemr.Model.of(name="task")
    bad.add_computed("layer.weight", "F32", (2000, 256), failing)
    with pytest.raises(LookupError, match="gone"):
        libemr.merge(only, {"t": bad}, tmp_path / "none.emr", threads=4)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_a_function_or_a_bar(base, tasks, bundle):
    class Bar:
        total, n = None, 0

        def update(self, n):
            assert n >= 0
            self.n += n

    model = libemr.Model.of(base)
    for use in (
        lambda p: libemr.merge(base, tasks, progress=p),
        lambda p: model.write(io.BytesIO(), progress=p),
        lambda p: bundle.verify(progress=p),
        lambda p: bundle["french"].apply(base, progress=p),
        lambda p: bundle["french"].write(io.BytesIO(), base, progress=p),
    ):
        seen, bar = [], Bar()
        use(lambda done, total: seen.append((done, total)))
        assert seen == sorted(seen) and 0 < seen[-1][0] <= seen[-1][1]
        use(bar)
        assert 0 < bar.n <= bar.total == seen[-1][1]
        with pytest.raises(LookupError, match="stop"):
            use(stopping)
    with pytest.raises(TypeError, match="not a function of"):
        model.write(io.BytesIO(), progress=7)


def stopping(done, total):
    raise LookupError("stop")


def test_tqdm(base, tasks):
    from tqdm import tqdm

    with tqdm(disable=False, file=io.StringIO(), unit="B") as bar:
        libemr.merge(base, tasks, progress=bar)
        assert 0 < bar.n <= bar.total


@pytest.mark.parametrize(
    "memory, expected",
    [
        (None, 0),
        (5, 5),
        ("256MiB", 256 << 20),
        ("2 GB", 2 * 10**9),
        ("1.5k", 1500),
        ("10", 10),
        ("3KiB", 3072),
    ],
)
def test_memory_in_words(memory, expected):
    assert libemr.resources.memory_bytes(memory) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "lots"},
        {"memory": -1},
        {"threads": 0},
        {"threads": -3},
        {"threads": 1.5},
        {"threads": True},
        {"threads": 5000},
    ],
)
def test_resources_that_cannot_be(options, base, tasks):
    with pytest.raises((ValueError, libemr.LimitExceeded)):
        libemr.merge(base, tasks, **options)


@pytest.mark.parametrize("n", [-1, 1 << 20])
def test_files_that_count_wrongly_are_refused(n, base, bundle_bytes):
    class Lying(io.BytesIO):
        def readinto(self, memory):
            return n

        def write(self, data):
            return n

    class Long:
        def __init__(self, data):
            self.file = io.BytesIO(data)
            self.seek = self.file.seek

        def read(self, wanted):
            return self.file.read(wanted) + b"more"

    for file in (Lying(bundle_bytes), Long(bundle_bytes)):
        with pytest.raises(OSError, match="gave or took .* bytes, of .* at most"):
            libemr.Bundle(file)
    with pytest.raises(OSError, match=f"took {n} bytes"):
        libemr.Model.of(base).write(Lying())
