"""servers.py - servers for the tests of libemr-remote: one that does what goes wrong in the world, one that checks signatures as
s3 does, both on this machine. The first part of a path names the fault: /drop/FILE is FILE with connections that end early."""
import datetime
import hashlib
import hmac
import http.server
import pathlib
import re
import ssl
import threading
import time
import urllib.parse


class Server:
    """Serves a folder. `requests` are all that came: (path, headers); `state` is a fault's own memory, by path."""

    def __init__(self, root, handler, certificate=None):
        self.requests, self.state, self.lock = [], {}, threading.Lock()
        self.root, self.other = pathlib.Path(root), None
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.http.owner = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.address = f"{'https' if certificate else 'http'}://localhost:{self.http.server_port}"
        self.http.handle_error = lambda *_: None  # clients that hang up are meant to
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def count(self, path):
        """How often it was asked before."""
        with self.lock:
            n = self.state.get(path, 0)
            self.state[path] = n + 1
            return n

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Plain(http.server.BaseHTTPRequestHandler):
    """Ranges, ETags, If-Match: as they should be."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def owner(self):
        return self.server.owner

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        headers.setdefault("Content-Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def file_of(self, path):
        place = self.owner.root / urllib.parse.unquote(path.split("?")[0]).lstrip("/")
        return place.read_bytes() if place.is_file() else None

    def range_of(self, data):
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()
        return int(first), min(int(last) + 1, len(data))

    def tag_of(self, data):
        return '"' + hashlib.sha256(data).hexdigest()[:16] + '"'

    def do_GET(self):
        with self.owner.lock:
            self.owner.requests.append((self.path, dict(self.headers)))
        self.serve(self.path)

    def serve(self, path):
        self.serve_data(self.file_of(path))

    def serve_data(self, data):
        if data is None:
            return self.answer(404, b"nothing here")
        tag = self.tag_of(data)
        if self.headers.get("If-Match", tag) != tag:
            return self.answer(412)
        first, end = self.range_of(data)
        if first >= len(data):
            return self.answer(416, Content_Range=f"bytes */{len(data)}")
        return self.answer(206, data[first:end], ETag=tag, Content_Range=f"bytes {first}-{end - 1}/{len(data)}")


class Faulty(Plain):
    def serve(self, path):
        fault, rest = path.lstrip("/").split("/", 1)
        name = "on_" + fault.replace("-", "_")
        if not hasattr(self, name):
            return self.serve_data(self.file_of(path))
        data = self.file_of(rest)
        if data is None:
            return self.answer(404)
        return getattr(self, name)(data, rest)

    def partly(self, data, how_much, body=None):
        first, end = self.range_of(data)
        body = data[first:end] if body is None else body
        self.send_response(206)
        self.send_header("ETag", self.tag_of(data))
        self.send_header("Content-Length", str(end - first))
        self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body[:how_much(end - first)])

    def on_drop(self, data, _):
        if self.owner.count(self.path) % 2 == 0:
            self.partly(data, lambda n: n // 3)
            return self.hang_up()
        return self.serve_data(data)

    def on_drop_always(self, data, _):
        self.partly(data, lambda n: 10)
        return self.hang_up()

    def on_hang_up(self, data, _):
        return self.hang_up() if self.owner.count(self.path) % 3 else self.serve_data(data)

    def on_busy(self, data, _):
        n = self.owner.count(self.path)
        codes = [500, 503, 429, 502, 408, 504]
        return self.answer(codes[n // 2 % 6], b"later") if n % 2 == 0 else self.serve_data(data)

    def on_broken(self, data, _):
        return self.answer(500, b"never")

    def on_wait(self, data, _):
        return self.answer(503, b"", Retry_After=1) if self.owner.count(self.path) == 0 else self.serve_data(data)

    def on_less(self, data, _):
        """A part of the part, which is allowed."""
        first, end = self.range_of(data)
        end = min(end, first + max(1, (end - first) // 2))
        if first == end:
            return self.serve_data(data)
        return self.answer(206, data[first:end], ETag=self.tag_of(data), Content_Range=f"bytes {first}-{end - 1}/{len(data)}")

    def on_elsewhere(self, data, _):
        first, end = self.range_of(data)
        return self.answer(206, data[first:end], ETag=self.tag_of(data),
                           Content_Range=f"bytes {first + 1}-{end}/{len(data) + 1}")

    def on_no_range(self, data, _):
        first, end = self.range_of(data)
        return self.answer(206, data[first:end], ETag=self.tag_of(data))

    def on_whole(self, data, _):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def on_compressed(self, data, _):
        first, end = self.range_of(data)
        return self.answer(206, data[first:end], ETag=self.tag_of(data), Content_Encoding="gzip",
                           Content_Range=f"bytes {first}-{end - 1}/{len(data)}")

    def on_refuses_ranges(self, data, _):
        return self.answer(416)

    def on_forbidden(self, data, _):
        return self.answer(403, b"secret page")

    def on_untagged(self, data, _):
        first, end = self.range_of(data)
        return self.answer(206, data[first:end], Content_Range=f"bytes {first}-{end - 1}/{len(data)}")

    def on_dated(self, data, _):
        """No ETag, but a time of change; changed after the third request."""
        first, end = self.range_of(data)
        if self.owner.count(self.path) >= 3 and "If-Unmodified-Since" in self.headers:
            return self.answer(412)
        return self.answer(206, data[first:end], Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT",
                           Content_Range=f"bytes {first}-{end - 1}/{len(data)}")

    def change(self, data):
        return data if self.owner.count(self.path) < 2 else data[:-1] + bytes([data[-1] ^ 1])

    def on_changed(self, data, _):
        return self.serve_data(self.change(data))

    def on_changed_and_silent(self, data, _):
        """Takes no notice of If-Match."""
        data = self.change(data)
        first, end = self.range_of(data)
        return self.answer(206, data[first:end], ETag=self.tag_of(data), Content_Range=f"bytes {first}-{end - 1}/{len(data)}")

    def on_changed_and_whole(self, data, _):
        return self.serve_data(data) if self.owner.count(self.path) < 2 else self.on_whole(data, _)

    def on_shrunk(self, data, _):
        if self.owner.count(self.path) < 2:
            return self.serve_data(data)
        return self.answer(416, Content_Range="bytes */10")

    def on_slow(self, data, _):
        """Stalls once."""
        if self.owner.count(self.path) != 1:
            return self.serve_data(data)
        self.partly(data, lambda n: 100)
        self.wfile.flush()
        time.sleep(4)
        return self.hang_up()

    def on_stalled(self, data, _):
        time.sleep(30)
        return self.hang_up()

    def on_loop(self, data, rest):
        return self.answer(302, Location=f"/loop/{rest}")

    def on_hops(self, data, rest):
        """Five redirects, and then the file."""
        n = int(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("n", ["0"])[0])
        return self.answer(302, Location=f"/hops/{rest.split('?')[0]}?n={n + 1}") if n < 5 else self.serve_data(data)

    def on_to_file(self, data, rest):
        return self.answer(302, Location=f"file://{self.owner.root.resolve() / rest}")

    def on_to_other(self, data, rest):
        return self.answer(302, Location=f"{self.owner.other.address}/{rest}")

    def on_nowhere(self, data, rest):
        return self.answer(302)


class Signing(Plain):
    """s3 as its documents have it: every request signed, version 4; the signature is computed again from what came."""
    KEY, SECRET, REGION, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-test-1", None

    def serve(self, path):
        wrong = self.check(path)
        if wrong:
            return self.answer(403, wrong.encode())
        if path.startswith("/moved/"):
            return self.answer(307, Location=f"{self.owner.other.address}{path}")
        return self.serve_data(self.file_of(path))

    def check(self, path):
        given = self.headers.get("Authorization", "")
        parts = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", given)
        if not parts:
            return f"no signature: {given}"
        credential, signed, signature = parts.groups()
        key, day, region, service, end = credential.split("/")
        if (key, region, service, end) != (self.KEY, self.REGION, "s3", "aws4_request"):
            return f"other credentials: {credential}"
        names = signed.split(";")
        if "host" not in names or any(n.lower().startswith("x-amz-") and n.lower() not in names for n in self.headers):
            return f"not signed: {names}"
        if self.TOKEN and self.headers.get("x-amz-security-token") != self.TOKEN:
            return "no token"
        moment = self.headers["x-amz-date"]
        then = datetime.datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        if abs((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()) > 900 or moment[:8] != day:
            return f"another time: {moment}"
        place, _, query = path.partition("?")
        canonical = "\n".join([self.command, urllib.parse.quote(urllib.parse.unquote(place), safe="/-._~"), query,
                               *(f"{n}:{' '.join(self.headers[n].split())}" for n in names), "", signed,
                               self.headers["x-amz-content-sha256"]])
        scope = f"{day}/{region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        secret = ("AWS4" + self.SECRET).encode()
        for word in (day, region, "s3", "aws4_request"):
            secret = hmac.new(secret, word.encode(), hashlib.sha256).digest()
        right = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        return None if hmac.compare_digest(right, signature) else f"another signature, of: {canonical!r}"
