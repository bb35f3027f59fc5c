"""test_cookbook.py - the snippets of docs/cookbook.md, docs/fitting.md and README.md, each run in a folder of
its own."""

import functools
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sysconfig
import threading

import numpy as np
import pytest

import libemr

ROOT = pathlib.Path(__file__).parents[3]
PAGES = [ROOT / "docs" / "cookbook.md", ROOT / "docs" / "fitting.md", ROOT / "README.md"]
TASKS = ("french", "german")
MAKE_THE_BUNDLE = ("", "Merge folders from the hub")  # these recipes begin without all.emr


def snippets():
    """(heading, language, code, what it prints) of blocks in Python, and the cookbook's in the shell."""
    for page in PAGES:
        parts = re.split(r"^## (.*)$", page.read_text(), flags=re.M)
        for heading, text in zip(["", *parts[1::2]], parts[::2]):
            blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
            for i, (language, code) in enumerate(blocks):
                said = blocks[i + 1][1] if i + 1 < len(blocks) and blocks[i + 1][0] == "text" else None
                if language == "python" or (language == "sh" and page.name == "cookbook.md"):
                    name = f"{page.stem} {heading or 'at the top'} {i + 1}".lower().replace(" ", "_")
                    yield pytest.param(heading, language, code, said, id=name)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folders as transformers saves them, or, without it, of plain arrays."""
    folder = tmp_path_factory.mktemp("cookbook")
    try:
        import transformers
    except ImportError:
        make_arrays(folder)
    else:
        make_bert(folder, transformers)
    libemr.merge(f"{folder}/base", {task: f"{folder}/{task}" for task in TASKS}, folder / "all.emr")
    return folder


def make_arrays(folder):
    rng, config = np.random.default_rng(0), np.frombuffer(b"{}", np.uint8)
    base = {"layer.weight": rng.standard_normal((8, 8), np.float32), "file:config.json": config}
    libemr.Model.of(base).write(f"{folder}/base/")
    for task in TASKS:
        moved = base["layer.weight"] + 0.1 * rng.standard_normal((8, 8), np.float32)
        libemr.Model.of({**base, "layer.weight": moved}).write(f"{folder}/{task}/")


def make_bert(folder, transformers):
    import torch

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=16,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    model = transformers.BertForSequenceClassification(config)
    base = {name: w.clone() for name, w in model.state_dict().items()}
    model.save_pretrained(folder / "base")
    for task in TASKS:
        model.load_state_dict(
            {name: w + 0.1 * torch.randn_like(w) if w.is_floating_point() else w for name, w in base.items()}
        )
        model.save_pretrained(folder / task)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files, and ranges of them."""

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        data = pathlib.Path(self.translate_path(self.path)).read_bytes()
        begin, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(data))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data[begin:end])))
        self.end_headers()
        self.server.sent[self.path] = self.server.sent.get(self.path, 0) + len(data[begin:end])
        self.wfile.write(data[begin:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(world):
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(Ranges, directory=world))
    server.sent = {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def program():
    """The folder of `emr`: that of the installation, or the one that EMR names."""
    found = (
        os.environ.get("EMR")
        or shutil.which("emr", path=sysconfig.get_path("scripts"))
        or shutil.which("emr")
    )
    assert found, "the program emr is in no folder of PATH, and the variable EMR does not name it"
    return str(pathlib.Path(found).resolve().parent)


def run_python(code):
    exec(compile(code, "the snippet", "exec"), {"__name__": "__main__"})


def run_shell(code):
    path = f"{program()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expect_packages(code):
    for package in ("torch", "transformers", "tqdm"):
        if re.search(rf"^(from|import) (libemr\.(fit\.)?)?{package}\b", code, re.M):
            pytest.importorskip(package)


@pytest.mark.parametrize("heading, language, code, said", list(snippets()))
def test_snippet(heading, language, code, said, world, server, tmp_path, monkeypatch, capsys):
    expect_packages(code)
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    if heading in MAKE_THE_BUNDLE:
        (tmp_path / "all.emr").unlink()
    monkeypatch.chdir(tmp_path)
    if language == "python":
        run_python(code.replace("localhost:8000", f"localhost:{server.server_port}"))
    else:
        run_shell(code)
    if said is not None:
        assert capsys.readouterr().out == said
    expect_french(code, tmp_path)
    assert server.sent.get("/all.emr", 0) < (world / "all.emr").stat().st_size  # what french needs is less


def expect_french(code, folder):
    """What a recipe makes of the task french is what the bundle has of it."""
    for name in ("french-again/", "french.safetensors"):
        if f'"{name}"' in code or f"-o {name}" in code:
            with libemr.Bundle(folder / "all.emr") as bundle, libemr.Model(folder / name) as made:
                expected = bundle["french"].open(folder / "base")
                assert {t.name for t in made.values()} == {
                    t.name for t in expected.values() if not t.name.startswith("file:")
                }
                assert all(
                    bytes(t.read_bytes()) == bytes(expected[t.name].read_bytes()) for t in made.values()
                )
            assert (
                not name.endswith("/")
                or (folder / name / "config.json").read_bytes()
                == (folder / "french" / "config.json").read_bytes()
            )
