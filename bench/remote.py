"""remote.py EMR FETCH [GIGABYTES] - checkpoints by their address, measured against nginx on this machine:

- reading one file, front to back, over two connections (tests/remote/fetch.c), beside curl's two connections on the same file;
- a merge of eight tasks of 64 Mi BF16 parameters: its memory, which is to stay below --memory + 48 MiB, and its time beside the same
  merge from files.

Best of five, in turn: the machine need not be quiet, but that helps."""
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

EMR, FETCH = (os.path.abspath(word) for word in sys.argv[1:3])
GIGABYTES = float(sys.argv[3]) if len(sys.argv) > 3 else 2
PARAMETERS, TENSORS, TASKS, MEMORY = 64 << 20, 16, 8, 256
NGINX = """daemon off; master_process off; worker_processes 1; {2} pid {0}/pid; error_log {0}/errors;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {0}/t; proxy_temp_path {0}/t; fastcgi_temp_path {0}/t;
uwsgi_temp_path {0}/t; scgi_temp_path {0}/t; server {{ listen 127.0.0.1:{1}; root {0}; }} }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def put_model(path, seed):
    header, size = {}, PARAMETERS * 2 // TENSORS
    for i in range(TENSORS):
        header[f"w{i}"] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [i * size, (i + 1) * size]}
    text = json.dumps(header).encode()
    small = bytes(x & 0x3f for x in range(256))  # no exponent that would be infinite
    noise = random.Random(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            file.write(noise.randbytes(size).translate(small))


def seconds(*command):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def best(*ways):
    """The shortest time of each, taken in turn."""
    return [min(times) for times in zip(*([way() for way in ways] for _ in range(5)))]


def reading(url, size):
    half = size // 2
    curl, own = best(lambda: seconds("curl", "-sS", "--no-progress-meter", "--parallel", "-r", f"0-{half - 1}", "-o", "/dev/null", url,
                                     "--next", "-sS", "-r", f"{half}-{size - 1}", "-o", "/dev/null", url),
                     lambda: seconds(FETCH, url, "connections=2", "quiet=1"))
    print(f"reading {size / 1e9:.1f} GB over two connections: curl {size / curl / 1e9:.2f} GB/s, "
          f"libemr-remote {size / own / 1e9:.2f} GB/s, ratio {curl / own:.2f} (to be at least 0.8)")


def merging(root):
    words = [EMR, "merge", "--base", f"{root}/base.safetensors", "--memory", f"{MEMORY}M", "--quiet", "--force", "-o", "out.emr"]
    for i in range(TASKS):
        words += ["--task", f"t{i}={root}/t{i}.safetensors"]
    began = time.monotonic()
    child = subprocess.Popen(words)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit("the merge failed")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def main():
    os.environ["PATH"] += ":/usr/sbin"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.chmod(folder, 0o755)
        port = free_port()
        pathlib.Path("nginx.conf").write_text(NGINX.format(folder, port, "user root;" if os.getuid() == 0 else ""))
        size = int(GIGABYTES * 1e9)
        with open("big", "wb") as file:
            for _ in range(0, size, 1 << 24):
                file.write(os.urandom(1 << 24))
            file.truncate(size)
        for i, name in enumerate(["base"] + [f"t{i}" for i in range(TASKS)]):
            put_model(f"{name}.safetensors", i)
        server = subprocess.Popen([shutil.which("nginx"), "-p", folder, "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            reading(f"http://localhost:{port}/big", size)
            for name, root in (("files", "."), ("http", f"http://localhost:{port}")):
                took, memory = merging(root)
                print(f"merging {TASKS} x {PARAMETERS >> 20} Mi BF16, --memory {MEMORY}M, from {name}: {took:.1f} s, "
                      f"{memory:.0f} MiB at most")
        finally:
            server.terminate()
            server.wait()


main()
