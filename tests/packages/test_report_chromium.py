"""test_report_chromium.py EMR - the pages of `emr report` in a headless Chromium: no errors, nothing asked of the network, light
and dark with text that can be read, no page wider than a phone's screen, and a PDF for paper. Where there is no Chromium, apt
installs it for root; else the test fails and says so."""
import html
import math
import pathlib
import random
import re
import shutil
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
from program import *

KINDS = {"self_attn.q_proj": [16, 16], "self_attn.o_proj": [16, 16], "mlp.up_proj": [24, 16], "mlp.down_proj": [16, 24],
         "input_layernorm": [16]}
NAMES = ["math", "code", "<script>console.error(1)</script>", "a-name-that-goes-on-and-on-without-any-end-in-sight-for-ever-and-ever",
         "日本語", "chat"]
PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const light = text => text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const style = element => element.ownerDocument.defaultView.getComputedStyle(element);
function probe(frame, width) {
    const page = frame.contentDocument, root = page.documentElement, paper = style(page.body).backgroundColor;
    page.querySelectorAll("details").forEach(d => d.open = true);
    const out = [...page.body.querySelectorAll("*")].filter(e => !e.closest(".box") && e.getBoundingClientRect().right > width + 0.5);
    let least = 99, on_cells = 99;
    for (const e of page.querySelectorAll("p, td, th, figcaption, h1, h2, h3, dt, dd, summary, footer, li")) {
        const around = e.closest(".facts div");
        least = Math.min(least, contrast(style(e).color, around ? style(around).backgroundColor : paper));
    }
    for (const e of page.querySelectorAll(".strip text[class^=t], .hm text[class^=n]"))
        on_cells = Math.min(on_cells, contrast(style(e).fill, style(e.previousElementSibling).fill));
    return {width, scroll: root.scrollWidth, outside: out.slice(0, 3).map(e => e.outerHTML.slice(0, 120)), paper, least, on_cells,
            rects: page.querySelectorAll("svg rect").length, scripts: page.scripts.length, title: page.title};
}
async function all() {
    const found = [];
    for (const width of [320, 390, 768, 1280]) {
        const frame = document.createElement("iframe");
        Object.assign(frame, {width, height: 900, src: "page.html"});
        document.body.append(frame);
        await new Promise(done => frame.onload = done);
        found.push(probe(frame, width));
        frame.remove();
    }
    document.body.textContent = "PROBED" + JSON.stringify(found) + "END";
}
all();
</script>"""


def find_chromium():
    names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=False, stdout=subprocess.DEVNULL)
        found = next(filter(None, map(shutil.which, names)), None)
    return found or sys.exit("there is no chromium here (in Debian: apt-get install chromium)")


CHROMIUM = find_chromium()


class Listener:
    """What all names lead to: notes whom they ask for, be it as HTTP's Host or in TLS's greeting. Chromium itself asks for its
    maker's hosts."""
    ITS_OWN = re.compile(rb"google|gstatic|gvt1|chrome")

    def __enter__(self):
        self.socket, self.asked = socket.create_server(("127.0.0.1", 0)), []
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def listen(self):
        try:
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self.note, args=[connection], daemon=True).start()
        except OSError:
            pass

    def note(self, connection):
        with connection:
            connection.settimeout(10)
            try:
                first = connection.recv(65536)
            except OSError:
                return
        if first and not self.ITS_OWN.search(first):
            self.asked.append(first)

    def __exit__(self, *_):
        self.socket.close()


def browse(page, *words, dark=False):
    """What Chromium prints, its console's messages, and what it asked of the network."""
    with Listener() as listener:
        done = subprocess.run(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
             f"--user-data-dir={os.path.abspath('profile')}", "--no-proxy-server",
             f"--host-resolver-rules=MAP * 127.0.0.1:{listener.port}", "--enable-logging=stderr", "--allow-file-access-from-files",
             "--virtual-time-budget=20000", f"--blink-settings=preferredColorScheme={0 if dark else 1}", *words,
             pathlib.Path(page).resolve().as_uri()], capture_output=True, text=True, errors="replace", timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line], listener.asked


def models(n_layers):
    dice = random.Random(n_layers)
    shapes = {"model.embed_tokens.weight": [20, 16], **{f"model.layers.{i}.{k}.weight": s for i in range(n_layers) for k, s in KINDS.items()},
              "lm_head.weight": [20, 16]}
    numbers = lambda spread: {n: [dice.gauss(0, spread) for _ in range(math.prod(s))] for n, s in shapes.items()}
    base = numbers(1)
    save("base.safetensors", {n: (shapes[n], v) for n, v in base.items()})
    common = numbers(0.1)
    for i in range(len(NAMES)):
        own = numbers(0.1)
        save(f"{i}.safetensors", {n: (shapes[n], [w + (i % 3 - 1) * c + o for w, c, o in zip(base[n], common[n], own[n])]) for n in shapes})
    return ["--base", "base.safetensors", *[w for i, n in enumerate(NAMES) for w in ("--task", f"{n}={i}.safetensors")]]


def pages():
    """Makes each kind of page in its turn."""
    for n_layers in (4, 60):
        words = models(n_layers)
        emr("report", *words, "-o", "page.html", "--force")
        yield f"checkpoints of {n_layers} layers"
        emr("merge", *words, "--private", "lm_head.*", "--rescale-per", "row", "--measure", "-o", "all.emr", "--force")
        emr("report", "all.emr", "-o", "page.html", "--force")
        yield f"a bundle of {n_layers} layers"
    emr("report", "all.emr", "--base", "base.safetensors", "-o", "page.html", "--force")
    yield "a bundle with its base"


def test_the_test_sees_what_is_wrong():
    pathlib.Path("bad.html").write_text("<!doctype html><script>console.error('no')</script><img src='http://example.org/x.png'>"
                                       "<link rel=stylesheet href='https://fonts.example.net/x.css'>")
    _, messages, asked = browse("bad.html", "--dump-dom")
    assert messages and any(b"example.org" in a for a in asked) and any(b"fonts.example.net" in a for a in asked), (messages, asked)
    pathlib.Path("good.html").write_text("<!doctype html><p>Nothing")
    _, messages, asked = browse("good.html", "--dump-dom")
    assert not messages and not asked, (messages, asked)


def test_pages_render():
    pathlib.Path("probe.html").write_text(PROBE)
    for what in pages():
        papers = set()
        for dark in (False, True):
            _, messages, asked = browse("page.html", "--dump-dom", dark=dark)
            assert not messages and not asked, (what, messages, asked)
            out, _, _ = browse("probe.html", "--dump-dom", dark=dark)
            for found in json.loads(html.unescape(re.search("PROBED(.*)END", out)[1])):
                assert found["scroll"] <= found["width"] and not found["outside"], (what, found)
                assert found["rects"] > 50 and found["scripts"] == 0 and found["title"], (what, found)
                assert found["least"] >= 4.5 and found["on_cells"] >= 4.5, (what, dark, found)
                papers.add(found["paper"])
        assert len(papers) == 2, papers


def test_pages_print():
    for what in pages():
        browse("page.html", "--print-to-pdf=page.pdf", "--no-pdf-header-footer", dark=True)
        pdf = pathlib.Path("page.pdf").read_bytes()
        n = len(re.findall(rb"/Type\s*/Page\b", pdf))
        assert pdf.startswith(b"%PDF") and 2 <= n <= 40, (what, n, len(pdf))


run(globals())
