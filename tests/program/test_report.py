"""test_report.py EMR - `emr report`: the page is well formed and whole in itself, its numbers are those of `emr kinship` and
`emr inspect`, names from files are text in it, and it stays small however many tensors and tasks there are."""
import html.parser
import math
import random
import re
import xml.dom.minidom

from program import *

VOID = {"meta", "br", "hr", "img", "link", "input"}
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "h3", "p", "dl", "div", "dt",
           "dd", "span", "small", "strong", "code", "figure", "figcaption", "table", "thead", "tbody", "tr", "th", "td", "ul", "li",
           "details", "summary", "svg", "rect", "text"}
ATTRIBUTES = {"aria-hidden", "aria-label", "charset", "class", "content", "font-size", "font-weight", "height", "http-equiv", "id", "lang",
              "name", "preserveaspectratio", "role", "rx", "scope", "tabindex", "text-anchor", "transform", "viewbox", "width", "x",
              "xmlns", "y"}
SHAPES = {"model.embed_tokens.weight": [9, 5], **{f"model.layers.{i}.{k}.weight": [5, 5] for i in range(3) for k in ("self_attn.q_proj", "mlp.up_proj")},
          "model.norm.weight": [5], "lm_head.weight": [6, 5]}
NAMES = ["ann", "ben", "cat", "dan"]


class Page(html.parser.HTMLParser):
    """Tags in their order, closed as they are opened; tables as rows of text; titles of cells; sections' texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.raw, self.open, self.tables, self.titles, self.facts, self.ids, self.words = text, [], {}, [], {}, [], ""
        self.table, self.cell, self.term = None, None, None
        self.feed(text)
        self.close()
        assert not self.open, self.open
        for svg in re.findall(r"<svg.*?</svg>", text, re.S):
            xml.dom.minidom.parseString(svg.encode())
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attributes):
        assert tag in ALLOWED, tag
        for name, value in attributes:
            assert name in ATTRIBUTES, (tag, name)
            assert name == "xmlns" or "//" not in value or name == "aria-label", (tag, name, value)
        about = dict(attributes)
        self.ids += [about["id"]] if "id" in about else []
        if tag == "table":
            self.table = self.tables.setdefault(about["aria-label"], [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.cell = about.get("class")
            self.table[-1].append("")
        elif tag == "title":
            self.titles.append("")
        elif tag == "dt":
            self.term = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if not self.open or "style" in self.open:
            return
        if "title" in self.open:
            self.titles[-1] += data
        elif "td" in self.open or "th" in self.open:
            self.table[-1][-1] += data
        elif "dt" in self.open:
            self.term += data
        elif "dd" in self.open:
            self.facts[self.term] = self.facts.get(self.term, "") + data
        if "title" not in self.open:
            self.words += data

    def rows(self, table):
        return {row[0]: row[1:] for row in self.tables[table][1:]}

    def cells(self, words):
        """Numbers behind 'task, layer 1: ' and its like, of one strip."""
        part = self.raw[self.raw.index(f'<figure id="{words}"'):]
        part = part[:part.index("</figure>")]
        found = re.findall(r"<title>(.*?)</title>", part)
        return {key: value for key, value in (title.split(": ", 1) for title in found)}


def report(*words):
    emr("report", *words, "-o", "page.html", "--force")
    return Page(pathlib.Path("page.html").read_text(encoding="utf-8"))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def world(seed=1, names=NAMES, shapes=SHAPES):
    dice = random.Random(seed)
    numbers = lambda spread: {n: [f32(dice.gauss(0, spread)) for _ in range(math.prod(s))] for n, s in shapes.items()}
    base = numbers(1)
    save("base.safetensors", {n: (shapes[n], v) for n, v in base.items()})
    for i, name in enumerate(names):
        changes = numbers(0.1)
        save(f"{i}.safetensors", {n: (shapes[n], [f32(w + (c if c > -0.1 * i else 0)) for w, c in zip(base[n], changes[n])]) for n in shapes})
    return ["--base", "base.safetensors", *[w for i, n in enumerate(names) for w in ("--task", f"{n}={i}.safetensors")]]


def short(number, digits=4):
    return "–" if number is None else "%.*g" % (digits, number)


def assert_vectors(page, told):
    """The page has what `emr kinship --json` says."""
    model, = told["model"]["groups"]
    rows = page.rows("Task vectors")
    assert list(rows) == told["model"]["order"]
    for task in model["tasks"]:
        want = [short(task[k]) for k in ("norm", "mean_magnitude", "largest", "kurtosis")]
        assert rows[task["name"]][1:] == [*want, short(100 * task["zeros"] / model["params"]) + " %"], task
    assert page.facts["Mean kinship"].split()[0] == short(model["mean"])
    assert page.facts["Signs conflict"].split()[0] == short(100 * model["conflicts"] / model["params"], 3)
    heat = page.raw[page.raw.index('<section id="kinship"'):]
    for i, a in enumerate(model["tasks"]):
        for j, b in enumerate(model["tasks"]):
            assert f"<title>{a['name']} – {b['name']}: {short(model['kinship'][i][j], 6)}</title>" in heat
    for per in ("layer", "kind"):
        for group in told[per]["groups"]:
            place = group["name"] or "rest"
            assert page.cells(f"{per}-kinship")[f"mean of pairs, {per} {place}"] == short(group["mean"], 6)
            assert page.cells(f"{per}-conflicts")[f"all tasks, {per} {place}"] == short(100 * group["conflicts"] / group["params"], 6) + " %"
            for task in group["tasks"]:
                at = f"{task['name']}, {per} {place}"
                assert page.cells(f"{per}-norm")[at] == short(task["norm"], 6)
                assert page.cells(f"{per}-change")[at] == short(task["norm"] / math.sqrt(group["params"]), 6)
                assert page.cells(f"{per}-kurtosis")[at] == short(task["kurtosis"], 6)
                assert page.cells(f"{per}-zeros")[at] == short(100 * task["zeros"] / group["params"], 6) + " %"


def kinship(*words):
    return {per: emr("kinship", *words, "--per", per, "--json").json for per in ("model", "layer", "kind", "tensor")}


def test_numbers_are_those_of_kinship():
    words = world()
    page, told = report(*words), kinship(*words)
    assert_vectors(page, told)
    tensors = page.rows("Tensors")
    assert len(tensors) == len(SHAPES)
    for group in told["tensor"]["groups"]:
        dtype, shape, params, change, conflicts, mean = tensors[group["name"]]
        squares = sum(task["norm"] ** 2 for task in group["tasks"])
        assert (dtype, shape, params) == ("F32", str(SHAPES[group["name"]]), str(group["params"]))
        assert change == short(math.sqrt(squares / len(NAMES) / group["params"]))
        assert (conflicts, mean) == (short(100 * group["conflicts"] / group["params"]) + " %", short(group["mean"]))
    models = page.rows("Models")
    assert models["(base)"][0] == "base.safetensors" and models["ann"][1:3] == ["9", str(sum(map(math.prod, SHAPES.values())))]


def test_a_bundle_alone_tells_of_its_modulators():
    words = world(2)
    emr("merge", *words, "--rescale-per", "row", "--private", "lm_head.*", "-o", "all.emr")
    page, told = report("all.emr"), emr("inspect", "all.emr", "--json").json
    assert "Task vectors" not in page.tables and "--base CHECKPOINT" in page.words
    assert page.facts["Merged parameters"].split()[0] == str(told["merged_params"])
    rows = page.rows("Modulators")
    for task in told["tasks"]:
        assert rows[task["name"]][:3] == ["mask, l1 per row", short(task["bits"]), short(100 * task["density"]) + " %"]
        emr("export", "all.emr", "--mask", task["name"], "-o", "mask.safetensors", "--force")
        raw = pathlib.Path("mask.safetensors").read_bytes()
        size, = struct.unpack_from("<Q", raw)
        masks = {n: raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]
                 for n, t in json.loads(raw[8:8 + size]).items() if n != "__metadata__"}
        for layer in range(3):
            bits = b"".join(m for n, m in masks.items() if f"layers.{layer}." in n)
            scales = [x for n, v in task["rescaler"].items() if f"layers.{layer}." in n for x in v]
            at = f"{task['name']}, layer {layer}"
            assert page.cells("layer-density")[at] == short(100 * sum(bits) / len(bits), 6) + " %"
            assert math.isclose(float(page.cells("layer-rescaler")[at]), math.fsum(scales) / len(scales), rel_tol=1e-5)
    assert page.rows("Tensors that are not merged") == {"kept apart when the bundle was made": ["0", "4", "480 B", "lm_head.weight"]}
    assert len(page.rows("Tensors")) == len(SHAPES) - 1


def test_a_bundle_with_its_base_tells_all():
    words = world(3)
    for modulator, more in (("mask", ["--measure"]), ("ternary", []), ("two-sided", ["--embed-base"])):
        emr("merge", *words, "--modulator", modulator, *more, "-o", "all.emr", "--force")
        inputs = ["all.emr"] if "--embed-base" in more else ["all.emr", "--base", "base.safetensors"]
        page = report(*inputs)
        assert_vectors(page, kinship(*inputs))
        for task in emr("inspect", "all.emr", "--json").json["tasks"]:
            row = page.rows("Modulators")[task["name"]]
            assert row[4:7] == [short(task["cosine"]), short(task["coefficient"]), short(task["error"])], (modulator, row)


def test_private_tensors_count_in_statistics_and_not_in_masks():
    words = world(4)
    emr("merge", *words, "--private", "model.layers.1.*", "-o", "all.emr")
    page = report("all.emr", "--base", "base.safetensors")
    assert_vectors(page, kinship("all.emr", "--base", "base.safetensors"))
    assert page.cells("layer-density")["ann, layer 1"] == "none" and "also tensors that the tasks keep" in page.words


def test_why_tensors_are_not_merged():
    base = {"w": [1.0, 2.0], "head.w": [1.0], "bn.running_mean": [0.0], "bn.running_var": [1.0], "bn.weight": [1.0], "bn.bias": [0.0]}
    save("base.safetensors", base)
    for i in range(2):
        save(f"{i}.safetensors", {n: [x + i + 1 for x in v] for n, v in base.items()})
    words = ["--base", "base.safetensors", "--task", "a=0.safetensors", "--task", "b=1.safetensors", "--private", "head.*"]
    rows = report(*words).rows("Tensors that are not merged")
    assert rows["matches a private pattern"][-1] == "head.w" and len(rows) == 2 and any("running" in row[-1] for row in rows.values())
    emr("merge", *words, "-o", "all.emr")
    rows = report("all.emr").rows("Tensors that are not merged")
    assert rows["kept apart when the bundle was made"][-1] == "head.w" and len(rows) == 2


HOSTILE = ["<script>alert(1)</script>", "\"><img src onerror>", "</style></svg></title><b>", "a\x01\x1b[31m\x7fb", "&amp;&lt;\u202egnp\u2028",
           "x" * 255, "é" * 127, "--><!--", "日本語のモデル", "]]>'"]


def test_names_are_text():
    shapes = {"model.layers.0.q_proj.weight": [2, 2], **{name: [3] for name in HOSTILE}, "y" * 4000: [2], "layers.99999999999999999.x": [2],
              "layers.1" + "." * 300 + "x": [2]}
    words = world(5, names=HOSTILE, shapes=shapes)
    page = report(*words, "--private", "<script>*", "--private", "x*")
    assert "<script" not in page.raw and "<img" not in page.raw and "<b>" not in page.raw
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]", page.raw)
    names = list(page.rows("Task vectors"))
    assert "<script>alert(1)</script>" in names and "日本語のモデル" in names and max(map(len, names)) <= 48
    assert max(len(name) for name in page.rows("Tensors")) <= 72
    emr("merge", *words, "-o", "all.emr")
    page = report("all.emr")
    assert "<script>alert(1)</script>" in page.rows("Modulators") and "<script" not in page.raw


def test_names_that_are_no_text_are_shown_all_the_same():
    save("base.safetensors", {"w": [1.0, 2.0]})
    save("a.safetensors", {"w": [2.0, 2.5]})
    name = b"a\xff\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82b"
    os.rename("a.safetensors", name + b".safetensors")
    done = subprocess.run([EMR, b"report", b"--base", b"base.safetensors", b"--task", b"a=" + name + b".safetensors", b"-o", b"page.html"],
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    rows = Page(pathlib.Path("page.html").read_text(encoding="utf-8")).rows("Models")
    assert re.fullmatch("a\ufffd+b.safetensors", rows["a"][0]), rows


def test_one_task_and_no_change():
    save("base.safetensors", {"h.0.w": [1.0, 2.0]})
    page = report("--base", "base.safetensors", "--task", "a=base.safetensors")
    assert page.rows("Task vectors")["a"][1:] == ["0", "0", "0", "–", "100 %"] and "kinship" not in page.ids
    page = report("--base", "base.safetensors", "--task", "a=base.safetensors", "--task", "b=base.safetensors")
    assert page.facts["Mean kinship"].split()[0] == "–"


def test_many_tensors_and_tasks_make_a_page_that_can_be_read():
    shapes = {f"model.layers.{i}.{j}.{k}.weight": [1] for i in range(500) for j in range(10) for k in ("q_proj", "up_proj", "strange")}
    big = {**shapes, "lm_head.weight": [100]}
    save("base.safetensors", {n: (s, [0.5] * s[0]) for n, s in big.items()})
    words = ["--base", "base.safetensors"]
    for i in range(64):
        words += ["--task", f"task number {i} <with> a \"name\" that & is long=" + f"{i % 4}.safetensors"]
    for i in range(4):
        save(f"{i}.safetensors", {n: (s, [0.5 + ((len(n) * 7 + i * 3 + len(n) * i) % 11 - 5) / 100] * s[0]) for n, s in big.items()})
    page = report(*words)
    assert len(page.raw) < 6_000_000, len(page.raw)
    assert len(page.tables["Tensors"]) == 201 and "The largest 200 tensors of 15,001" in page.words
    assert "too many tensors and tasks" in page.words and "11 neighbouring ones share a column" in page.words
    assert "task number 0 <with> a \"name\" that & is long, layer 0–10" in "".join(page.titles)
    told = emr("kinship", *words, "--per", "layer", "--json").json["groups"]
    first = [g["tasks"][5]["norm"] ** 2 for g in told[:11]]
    key = "task number 5 &lt;with&gt; a &quot;name&quot; that &amp; is long, layer 0–10"
    assert page.cells("layer-norm")[key] == short(math.sqrt(math.fsum(first)), 6)
    conflicts = sum(g["conflicts"] for g in told[:11]) / sum(g["params"] for g in told[:11])
    assert page.cells("layer-conflicts")["all tasks, layer 0–10"] == short(100 * conflicts, 6) + " %"


def test_what_is_said_and_refused():
    words = world(6)
    assert emr("report", *words, "-o", "page.html", "--json", "--force").json == {
        "output": "page.html", "bytes": os.path.getsize("page.html"), "tasks": 4, "tensors": 9, "params": 230, "vectors": True}
    assert emr("report", *words, "-o", "-").out == pathlib.Path("page.html").read_text()
    before = unchanged(["page.html", "base.safetensors", "0.safetensors"])
    emr("report", *words, "-o", "page.html", status=2).says("page.html")
    emr("report", *words, "-o", "0.safetensors", "--force", status=2).says("0.safetensors", "never written over")
    emr("report", *words, status=2).says("-o OUT.html is missing")
    emr("report", *words, "-o", "-", "--json", status=2).says("does not go with --json")
    emr("report", "-o", "x.html", status=2).says("needs a BUNDLE, or --base")
    emr("report", *words, "x.emr", "-o", "x.html", status=2).says("either a BUNDLE or --task")
    emr("report", "base.safetensors", "-o", "x.html", status=1).says("is no bundle")
    emr("report", "none.emr", "-o", "x.html", status=3).says("none.emr")
    emr("merge", *words, "-o", "all.emr")
    emr("report", "all.emr", "--base", "0.safetensors", "-o", "x.html", status=1).says("0.safetensors")
    emr("report", "all.emr", "-o", "all.emr", "--force", status=2).says("the output is the bundle")
    emr("report", *words, "-o", "no/such/folder.html", status=3).says("no/such")
    save("0.safetensors", {n: (s, [math.nan] * math.prod(s)) for n, s in SHAPES.items()})
    emr("report", *words, "-o", "x.html", status=1).says("task 'ann'")
    assert not os.path.exists("x.html") and before["page.html"] == pathlib.Path("page.html").read_bytes()
    assert "emr report" in emr("report", "--help").out


def test_the_same_bytes_whatever_the_threads():
    words = world(7)
    pages = set()
    for threads in (1, 2, 5):
        emr("report", *words, "-o", "page.html", "--force", "--threads", threads)
        pages.add(pathlib.Path("page.html").read_bytes())
    assert len(pages) == 1


run(globals())
