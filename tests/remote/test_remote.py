"""test_remote.py EMR FETCH [nginx] - checkpoints by their address: the same bytes as from files, and for each fault its sentence. Servers
are servers.py's or, in a test of its own, nginx."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))
from program import *
from servers import Faulty, Plain, Server, Signing

FETCH = os.path.abspath(sys.argv[2])
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost"
SIZE = 3_000_001


def noise(path, size=SIZE, seed=1):
    data = random.Random(seed).randbytes(size)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_bytes(data)
    return data


def fetch(address, status=0, **options):
    done = subprocess.run([FETCH, address, *(f"{k}={v}" for k, v in options.items())], capture_output=True, timeout=120)
    assert done.returncode == status, f"{address} {options}: {done.returncode}, {done.stderr}"
    return done.stdout if status == 0 else done.stderr.decode()


def refused(address, *texts, **options):
    said = fetch(address, status=1, **options)
    for text in texts:
        assert text in said, f"{address}: '{text}' is not in: {said}"
    assert said.count("\n") == 1, said
    return said


def with_faults(test):
    """Runs it with a server of faults over a file x of noise."""
    def run():
        data = noise("www/x")
        noise("www/ok/x")
        server = Server("www", Faulty)
        try:
            test(server, data)
        finally:
            server.close()
    return run


@with_faults
def test_bytes_are_the_files_in_whatever_order_they_are_read(server, data):
    for way in ("front", "back", "random"):
        for piece, ahead, connections in ((40_000, 0, 4), (1 << 20, 1, 1), (1 << 20, 4 << 20, 3), (4 << 20, 0, 16)):
            got = fetch(f"{server.address}/ok/x", way=way, piece=piece, ahead=ahead, connections=connections)
            assert got == data, (way, piece, ahead)


@with_faults
def test_several_threads_may_read(server, data):
    for way in ("front", "random"):
        for piece in (20_000, 300_000):
            got = fetch(f"{server.address}/drop/x" if piece > 20_000 else f"{server.address}/ok/x", way=way, piece=piece, readers=7)
            assert got == data, (way, piece)


@with_faults
def test_small_files_and_empty_ones(server, data):
    for size in (0, 1, 16383, 16384, 16385, 1 << 20, (1 << 20) + 16384):
        small = noise("www/ok/small", size)
        assert fetch(f"{server.address}/ok/small", piece=5000) == small, size


@with_faults
def test_what_fails_for_a_while_is_tried_again_from_where_it_ended(server, data):
    for fault in ("drop", "hang-up", "busy", "wait", "less", "untagged"):
        assert fetch(f"{server.address}/{fault}/x", connections=2) == data, fault
    assert fetch(f"{server.address}/slow/x", stall=1, connections=1) == data
    assert sum(path == "/slow/x" for path, _ in server.requests) > 2


@with_faults
def test_what_fails_always_ends_with_a_sentence(server, data):
    refused(f"{server.address}/broken/x", "/broken/x: the server answered 500 (2 tries)", tries=2)
    refused(f"{server.address}/drop-always/x", "/drop-always/x: the connection ended early (2 tries)", tries=2)
    refused(f"{server.address}/stalled/x", "no answer, or bytes that came too slowly (2 tries)", tries=2, stall=1)
    begun = sum(path == "/broken/x" for path, _ in server.requests)
    assert begun == 2, begun
    refused("http://localhost:1/x", "no connection", "(2 tries)", tries=2)


@with_faults
def test_answers_that_are_none(server, data):
    for fault, text in {"elsewhere": "other bytes than it was asked for",
                        "no-range": "other bytes than it was asked for",
                        "whole": "does not serve parts of a file",
                        "compressed": "compresses what it sends",
                        "refuses-ranges": "refuses to serve its first bytes (416)",
                        "forbidden": "refuses access (403)"}.items():
        said = refused(f"{server.address}/{fault}/x", f"{server.address}/{fault}/x: ", text)
        assert "secret page" not in said
        assert sum(path == f"/{fault}/x" for path, _ in server.requests) == 1, fault
    refused(f"{server.address}/ok/absent", "there is no such file (404)")
    sent = sum(path == "/whole/x" for path, _ in server.requests)
    assert sent == 1


@with_faults
def test_a_file_that_changes_ends_the_run(server, data):
    for fault in ("changed", "changed-and-silent", "changed-and-whole", "shrunk", "dated"):
        said = refused(f"{server.address}/{fault}/x", f"/{fault}/x: ", "changed", connections=1, ahead=1, piece=1 << 20)
        assert "EMR_EIO" in said
    assert fetch(f"{server.address}/ok/x", twice=1) == 2 * data


@with_faults
def test_redirects(server, data):
    server.other = Server("www", Plain)
    try:
        assert fetch(f"{server.address}/hops/x") == data
        assert fetch(f"{server.address}/to-other/x") == data
        refused(f"{server.address}/loop/x", "from one address to another more than 5 times")
        refused(f"{server.address}/to-file/x", "an address that is not followed")
        refused(f"{server.address}/nowhere/x", "leads elsewhere without saying where (302)")
    finally:
        server.other.close()


def test_https_is_checked_and_leads_to_https_alone():
    data = noise("www/x")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "certificate",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    server, plain = Server("www", Faulty, ("certificate", "key")), Server("www", Plain)
    try:
        noise("www/ok/x")
        assert fetch(f"{server.address}/ok/x", certificates="certificate") == data
        assert "certificate" in fetch(f"{server.address}/ok/x", status=1)
        server.other = plain
        refused(f"{server.address}/to-other/x", "from https to https alone", certificates="certificate")
        assert not plain.requests
        server.other = server
    finally:
        server.close()
        plain.close()


@with_faults
def test_it_can_be_canceled(server, data):
    assert "EMR_ECANCELED" in refused(f"{server.address}/stalled/x", "canceled", cancel=300)
    assert "EMR_ECANCELED" in refused(f"{server.address}/broken/x", "canceled", cancel=300, tries=50)


def test_addresses():
    for address, text in {"http://user:hidden@localhost/x": "may not hold a user's name or password",
                          "http://localhost/a b": "no white space",
                          "http://localhost/a#b": "no '#'",
                          "ftp://localhost/x": "is no address",
                          "s3://bucket/key": "s3 needs the address of the server"}.items():
        assert "hidden" not in refused(address, text)
    said = refused("http://localhost:1/x?signature=hidden", "http://localhost:1/x: ", tries=1)
    assert "hidden" not in said


class Token(Signing):
    TOKEN = "token/with+signs=="


def test_s3_requests_are_signed():
    data = noise("www/bucket/folder/x y+z=ü(1).bin")
    for handler in (Signing, Token):
        server = Server("www", handler)
        server.other = Server("www", Plain)
        try:
            who = {"endpoint": server.address, "region": Signing.REGION, "key": Signing.KEY, "secret": Signing.SECRET}
            if handler.TOKEN:
                who["token"] = handler.TOKEN
            name = "s3://bucket/folder/x y+z=ü(1).bin"
            assert fetch(name, **who) == data
            refused("s3://bucket/absent", "s3://bucket/absent: there is no such file (404)", **who)
            said = refused(name, "refuses access (403)", **{**who, "secret": "another-secret"})
            assert "another-secret" not in said and "signature" not in said
            refused(name, "refuses access (403)", endpoint=server.address)
            refused("s3://moved/x", "another region", **who)
            assert not server.other.requests
            refused(name, "one is missing", endpoint=server.address, key="x")
        finally:
            server.close()
            server.other.close()


# ---- the program ----

def put_models(root):
    """A base, a task in one file, one in shards, each in a folder with files beside it."""
    random.seed(3)
    base = {f"layer.{i}.w": ([300, 70], [random.uniform(-1, 1) for _ in range(21000)]) for i in range(6)}
    base["b"] = [0.5] * 7
    save(f"{root}/base/model.safetensors", base)
    for name in ("one", "two"):
        task = {k: (v[0], [x + random.gauss(0, 0.01) for x in v[1]]) if isinstance(v, tuple) else [x + 1 for x in v]
                for k, v in base.items()}
        if name == "one":
            save(f"{root}/one/model.safetensors", task)
        else:
            save_shards(f"{root}/two", "model", task)
        pathlib.Path(root, name, "config.json").write_text(json.dumps({"name": name, "filler": "x" * 20000}))
        pathlib.Path(root, name, "tokenizer_config.json").write_text("{}")


def merged(root, output, one="one/", two="two/", status=0, **options):
    return emr("merge", "--base", f"{root}/base/model.safetensors", "--task", f"one={root}/{one}", "--task", f"two={root}/{two}",
               "-o", output, "--quiet", status=status, **options)


def test_a_merge_from_addresses_is_that_of_files():
    put_models("www/m")
    merged("www/m", "local.emr")
    wanted = pathlib.Path("local.emr").read_bytes()
    server = Server("www", Faulty)
    try:
        merged(f"{server.address}/m", "http.emr")
        assert pathlib.Path("http.emr").read_bytes() == wanted
        merged(f"{server.address}/m", "named.emr", "one/model.safetensors", "two/model.safetensors.index.json")
        assert pathlib.Path("named.emr").read_bytes() == wanted
        assert os.listdir(".").count("www") == 1 and sorted(os.listdir(".")) == ["http.emr", "local.emr", "named.emr", "www"]
        for name in ("local.emr", "http.emr"):
            emr("apply", name, "--task", "two", "--base", f"{server.address}/m/base/model.safetensors", "-o", f"{name}.out/")
        for path in pathlib.Path("local.emr.out").iterdir():
            assert path.read_bytes() == pathlib.Path("http.emr.out", path.name).read_bytes(), path
        assert json.loads(pathlib.Path("http.emr.out/config.json").read_text())["name"] == "two"
    finally:
        server.close()


def test_a_merge_over_a_network_that_fails_is_the_same():
    put_models("www/m")
    merged("www/m", "local.emr")
    server = Server("www", Faulty)
    try:
        for fault in ("busy", "drop", "less"):
            merged(f"{server.address}/{fault}/m", f"{fault}.emr")
            assert pathlib.Path(f"{fault}.emr").read_bytes() == pathlib.Path("local.emr").read_bytes(), fault
        merged(f"{server.address}/changed/m", "changed.emr", status=3).says("changed")
        assert not os.path.exists("changed.emr")
    finally:
        server.close()


def test_other_commands_take_addresses_too():
    put_models("www/m")
    server = Server("www", Plain)
    a = f"{server.address}/m"
    try:
        for root, output in (("www/m", "local"), (a, "http")):
            emr("combine", "--method", "linear", "--task", f"{root}/one/:0.25", "--task", f"{root}/two/:0.75", "-o",
                f"{output}.safetensors")
        assert pathlib.Path("local.safetensors").read_bytes() == pathlib.Path("http.safetensors").read_bytes()
        words = ("--base", "www/m/base/model.safetensors", "--task", "one={}/one/", "--task", "two={}/two/", "--json")
        assert emr("kinship", *(w.format("www/m") for w in words)).json == emr("kinship", *(w.format(a) for w in words)).json
        assert emr("inspect", f"{a}/one/model.safetensors").out
        pathlib.Path("recipe.yml").write_text("merge_method: linear\nmodels:\n"
                                              f"- model: {a}/one/\n  parameters: {{weight: 0.25}}\n"
                                              f"- model: {a}/two/\n  parameters: {{weight: 0.75}}\n")
        emr("combine", "--config", "recipe.yml", "-o", "recipe/")
        assert load("recipe/model.safetensors").keys() == load("local.safetensors").keys()
    finally:
        server.close()


def test_a_dry_run_reads_headers_alone():
    noise("www/unused", 1)
    big = ([3, 1 << 20], [0.0] * (3 << 20))
    for name in ("base", "one"):
        save(f"www/{name}.safetensors", {"w": big})
    server = Server("www", Plain)
    try:
        emr("merge", "--base", f"{server.address}/base.safetensors", "--task", f"{server.address}/one.safetensors", "--dry-run")
        asked = 0
        for _, headers in server.requests:
            first, last = headers["Range"][6:].split("-")
            asked += int(last) - int(first) + 1
        assert asked <= 1 << 20, asked
    finally:
        server.close()


def test_sentences_name_the_address():
    put_models("www/m")
    server = Server("www", Plain)
    a = f"{server.address}/m"
    try:
        emr("inspect", f"{a}/none.safetensors", status=3).says(f"{a}/none.safetensors", "there is no such file (404)")
        emr("inspect", f"{a}/nothing/", status=1).says(f"{a}/nothing/", "no .safetensors file")
        os.remove("www/m/two/model-00002-of-00007.safetensors")
        emr("inspect", f"{a}/two/", status=3).says("the shard 'model-00002-of-00007.safetensors' that it names is absent")
        emr("inspect", f"{a}/one/model.safetensors?key=hidden")
        said = emr("inspect", f"{a}/none.safetensors?key=hidden", status=3).says("no such file")
        assert "hidden" not in said.err, said.err
    finally:
        server.close()


def test_a_task_is_called_after_its_address():
    put_models("www/m")
    put_models("www/n")
    server = Server("www", Plain)
    a = f"{server.address}/m"
    try:
        emr("merge", "--base", f"{a}/base/model.safetensors", "--task", f"{a}/one/", "--task", f"{a}/two/model.safetensors.index.json",
            "-o", "o.emr")
        assert tasks_of("o.emr") == ["one", "two"], tasks_of("o.emr")
        base = ("merge", "--base", f"{a}/base/model.safetensors", "-o", "p.emr")
        said = emr(*base, "--task", f"{a}/one/model.safetensors?key=hidden", status=2).says("needs NAME= before it")
        said.err += emr(*base, "--task", f"{a}/one/?hidden", "--task", f"{server.address}/n/one/?hidden", status=2).err
        assert "hidden" not in said.err, said.err
        task = f"t={a}/one/model.safetensors?key=hidden"
        page = emr("report", "--base", f"{a}/base/model.safetensors", "--task", task, "-o", "p.html")
        assert "hidden" not in pathlib.Path("p.html").read_text() + page.out + page.err
    finally:
        server.close()


def put_adapter(path, seed):
    random.seed(seed)
    save(path / "adapter_model.safetensors",
         {f"base_model.model.q.lora_{k}.weight": (shape, [random.uniform(-1, 1) for _ in range(16)]) for k, shape in
          (("A", [2, 8]), ("B", [8, 2]))})
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"]}))


def test_adapters_come_with_their_configuration():
    for i, name in enumerate(("one", "two")):
        put_adapter(pathlib.Path("www", name), i)
    server = Server("www", Plain)
    try:
        for root, output in (("www", "local"), (server.address, "http")):
            emr("merge", "--base", "zeros", "--task", f"one={root}/one/", "--task", f"two={root}/two/", "-o", f"{output}.emr")
        assert pathlib.Path("local.emr").read_bytes() == pathlib.Path("http.emr").read_bytes()
        emr("apply", "http.emr", "--task", "two", "--base", "zeros", "-o", "two/")
        assert json.loads(pathlib.Path("two/adapter_config.json").read_text())["lora_alpha"] == 4
    finally:
        server.close()


def test_an_interrupt_ends_it():
    put_models("www/stalled/m")
    put_models("www/m")
    server = Server("www", Faulty)
    try:
        run = subprocess.Popen([EMR, "inspect", f"{server.address}/stalled/m/one/"], stderr=subprocess.PIPE)
        while not server.requests:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=15)
        assert run.returncode == 130, (run.returncode, said)
    finally:
        server.close()


def clean_environment(**more):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")}, "HOME": os.getcwd(), **more}


def test_credentials_come_from_the_environment_or_a_file():
    put_models("www/bucket")
    merged("www/bucket", "local.emr")
    server = Server("www", Token)
    try:
        env = clean_environment(AWS_ACCESS_KEY_ID=Signing.KEY, AWS_SECRET_ACCESS_KEY=Signing.SECRET, AWS_SESSION_TOKEN=Token.TOKEN,
                                AWS_REGION=Signing.REGION, AWS_ENDPOINT_URL=server.address)
        merged("s3://bucket", "a.emr", env=env)
        assert pathlib.Path("a.emr").read_bytes() == pathlib.Path("local.emr").read_bytes()
        os.mkdir(".aws")
        pathlib.Path(".aws/credentials").write_text(
            f"[default]\naws_access_key_id = other\naws_secret_access_key=other\n\n# mine\n[mine]\naws_access_key_id={Signing.KEY}\n"
            f"aws_secret_access_key = {Signing.SECRET} \naws_session_token = {Token.TOKEN}\n")
        pathlib.Path(".aws/config").write_text(
            f"[default]\nregion = nowhere\n[profile mine]\nregion = {Signing.REGION}\nendpoint_url = {server.address}\n"
            "s3 =\n  region = no\n")
        merged("s3://bucket", "b.emr", env=clean_environment(AWS_PROFILE="mine"))
        assert pathlib.Path("b.emr").read_bytes() == pathlib.Path("local.emr").read_bytes()
        said = emr("inspect", "s3://bucket/one/", env=clean_environment(AWS_ENDPOINT_URL=server.address), status=3).says("403")
        assert "other" not in said.err.replace("another", "")
        emr("inspect", "s3://bucket/one/", env=clean_environment(HOME="/none"), status=3).says("AWS_ENDPOINT_URL")
    finally:
        server.close()


NGINX = """daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/errors;
events {{ worker_connections 64; }}
http {{ access_log {0}/access; sendfile on; client_body_temp_path {0}/t; proxy_temp_path {0}/t; fastcgi_temp_path {0}/t;
uwsgi_temp_path {0}/t; scgi_temp_path {0}/t; server {{ listen 127.0.0.1:{1}; root {0}/www; }} }}
"""


def test_nginx():
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not nginx:
        print("skipped: nginx is not installed (apt-get install nginx-light)")
        sys.exit(77)
    here = os.getcwd()
    os.chmod(here, 0o755)
    put_models("www/m")
    data = noise("www/x", 30_000_001)
    merged("www/m", "local.emr")
    free = Server("www", Plain)
    port = free.http.server_port
    free.close()
    pathlib.Path("nginx.conf").write_text(("user root; " if os.getuid() == 0 else "") + NGINX.format(here, port))
    run = subprocess.Popen([nginx, "-p", here, "-c", f"{here}/nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if subprocess.run([FETCH, f"http://localhost:{port}/x", "quiet=1", "tries=1"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        assert fetch(f"http://localhost:{port}/x") == data
        assert fetch(f"http://localhost:{port}/x", way="random", piece=100_000) == data
        merged(f"http://localhost:{port}/m", "http.emr")
        assert pathlib.Path("http.emr").read_bytes() == pathlib.Path("local.emr").read_bytes()
        refused(f"http://localhost:{port}/none", "there is no such file (404)")
        noise("changed", 30_000_001, 2)
        refused(f"http://localhost:{port}/x", "changed", middle="mv changed www/x", ahead=1, piece=1_000_000)
    finally:
        run.terminate()
        run.wait()


run({name: value for name, value in globals().items() if (name == "test_nginx") == ("nginx" in sys.argv[3:])})
