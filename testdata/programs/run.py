#!/usr/bin/env python3
"""Builds recorded random programs, before and after an edit, and compares the images with recorded outcomes.

  run.py --builder kiln                                    checks; one store, both states in turn
  run.py --builder 'buildctl --addr unix://…' --record candidates.jsonl [--count 420]
                                                           chooses programs and writes programs.jsonl and outcomes.jsonl

Builders, images and the comparison are those of ../conformance/run.py. See README.md for the formats.
"""
import argparse, base64, concurrent.futures, gzip, importlib.util, json, os, re, shlex, shutil, sys, tempfile, threading

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("conformance", os.path.join(HERE, "../conformance/run.py"))
conformance = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conformance)
ABSENT = "no space left|Unavailable|connection refused|failed to list workers|code = Canceled"
MOST = 24000                            # characters of a program's outcomes; larger ones are not chosen
ALIKE = 8                               # so many entries that differ in their name alone are kept as one


# ---------------------------------------------------------------- contexts

def same(name, old, new):
    """Whether a name is what it was; a hard link is what its file is."""
    if old.get(name) != new.get(name):
        return False
    node = new.get(name)
    return not node or node[0] != "h" or same(node[1], old, new)


def bring(directory, old, new):
    """Brings a directory from one tree to another; what did not change is not touched."""
    linked = {n[1] for tree in (old, new) for n in tree.values() if n[0] == "h"}

    def stays(name):
        a, b = old.get(name), new.get(name)
        if a and b and a[0] == b[0] and a[0] in "df" and name not in linked:
            return True
        return same(name, old, new)
    for name in sorted((n for n in old if not stays(n)), reverse=True):
        path = os.path.join(directory, name)
        os.rmdir(path) if old[name][0] == "d" else os.unlink(path)
    made = [n for n in new if not same(n, old, new) or not stays(n)]
    for name in sorted(made, key=lambda n: (new[n][0] == "h", n)):
        make(directory, name, new[name])


def make(directory, name, node):
    path, kind = os.path.join(directory, name), node[0]
    if kind == "d":
        os.makedirs(path, exist_ok=True)
        os.chmod(path, node[1])
    elif kind == "l":
        os.symlink(node[1], path)
    elif kind == "h":
        os.link(os.path.join(directory, node[1]), path)
    elif kind in "tz":
        data = base64.b64decode(node[1])
        with open(path, "wb") as f:
            f.write(gzip.decompress(data) if kind == "t" else data)
    else:
        if os.path.exists(path):
            os.chmod(path, 0o600)
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(node[1])
        os.chmod(path, node[2])


# ---------------------------------------------------------------- building

class Place:
    """Where one program is built."""
    def __init__(self, options):
        self.work, self.options, self.at = tempfile.mkdtemp(prefix="kp.", dir=options.tmp), options, {}
        os.chmod(self.work, 0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.work, ignore_errors=True)

    def enter(self, state):
        for name in ("context", "other"):
            path = os.path.join(self.work, name)
            os.makedirs(path, mode=0o755, exist_ok=True)
            bring(path, self.at.get(name, {}), state[name])
            self.at[name] = state[name]
        self.dockerfile = os.path.join(self.work, "Dockerfile")
        with open(self.dockerfile, "w", encoding="utf-8") as f:
            f.write(state["dockerfile"].replace(conformance.REG, self.options.registry))
        with open(os.path.join(self.work, "word"), "w") as f:
            f.write("a secret\n")
        self.args = {"build-context": {"other": "./other"}, "secret": {"word": "./word"}, "build-arg": {}}
        for flag, value in state["flags"]:
            if flag == "build-arg":
                key, _, text = value.partition("=")
                self.args[flag][key] = text
            else:
                self.args[flag] = value

    def build(self, builder, base):
        out = os.path.join(self.work, "out.tar")
        env = {k: v for k, v in os.environ.items() if k not in ("SOURCE_DATE_EPOCH", "DOCKER_BUILDKIT")}
        code, text = builder.build({"args": self.args}, self.work, os.path.join(self.work, "context"), self.dockerfile, out, env)
        if code or not os.path.exists(out):
            return {"outcome": "error", "rc": code, "error": text.replace(self.work, "WORK")}
        try:
            return dict(conformance.read_output(out, base, set()), outcome="ok")
        finally:
            os.unlink(out)


def states(program):
    """Before and after the edit; what the edit does not name stays."""
    return program, dict(program, **program["edit"])


# ---------------------------------------------------------------- outcomes as they are kept

def pack(outcome):
    """Without what the text of a file, or the rest, tells too."""
    if outcome["outcome"] == "error":
        return {"error": conformance.oracle_error(outcome["error"])[-300:]}
    image = dict(outcome["image"])
    image.pop("layer_paths")
    image["fs"] = [{k: v for k, v in e.items() if "text" not in e or k not in ("size", "sha256")} for e in image["fs"]]
    return image


def unpack(kept):
    if "error" in kept:
        return dict(kept, outcome="error")
    image = dict(kept, layer_paths=[], fs=[dict(e) for e in kept["fs"]])
    for e in image["fs"]:
        if "text" in e:
            data = e["text"].encode()
            e.update(size=len(data), sha256=conformance.hashlib.sha256(data).hexdigest())
    return {"outcome": "ok", "image": image}


def fold(before, after):
    """The outcome after an edit, as its difference from the one before."""
    if "error" in before or "error" in after:
        return after
    old = {e["path"]: e for e in before["fs"]}
    new = {e["path"]: e for e in after["fs"]}
    return dict({k: v for k, v in after.items() if k != "fs" and before.get(k) != v},
                gone=sorted(set(old) - set(new)), fs=[e for e in after["fs"] if old.get(e["path"]) != e])


def unfold(before, kept):
    if "gone" not in kept:
        return kept
    tree = {e["path"]: e for e in before["fs"] if e["path"] not in kept["gone"]}
    tree.update({e["path"]: e for e in kept["fs"]})
    rest = {k: v for k, v in kept.items() if k != "gone"}
    return dict(before, **dict(rest, fs=[tree[p] for p in sorted(tree)]))


def shorten(row):
    """Entries of one directory that differ in their name alone become one with `names`: a copied stage has 400 such links."""
    def group(entries):
        alike = {}
        for e in entries:
            key = (e["path"].rpartition("/")[0], json.dumps(dict(e, path=""), sort_keys=True))
            alike.setdefault(key, []).append(e)
        for (directory, _), group in alike.items():
            if len(group) < ALIKE:
                yield from group
            else:
                yield dict(group[0], path=directory, names=[e["path"].rpartition("/")[2] for e in group])
    return {k: dict(v, fs=list(group(v["fs"]))) if k != "seed" and "fs" in v else v for k, v in row.items()}


def lengthen(row):
    """Undoes `shorten`."""
    def single(entries):
        for e in entries:
            for name in e.get("names", [None]):
                rest = {k: v for k, v in e.items() if k != "names"}
                yield e if name is None else dict(rest, path="%s/%s" % (e["path"], name) if e["path"] else name)
    return {k: dict(v, fs=sorted(single(v["fs"]), key=lambda e: e["path"])) if k != "seed" and "fs" in v else v for k, v in row.items()}


def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


# ---------------------------------------------------------------- choosing

def kind(step):
    """What an instruction is, for the cover of pairs."""
    words = step.split()
    word, flags = words[0], [w for w in words[1:] if w.startswith("--")]
    if word in ("COPY", "ADD"):
        if any(f.startswith("--from=s") for f in flags):
            word += " stage"
        elif any(f.startswith("--from=") for f in flags):
            word += " other"
        elif "<<" in step:
            word += " text"
        elif "bundle" in step:
            word += " archive"
        return word + (" link" if "--link" in flags else "")
    if word == "RUN":
        mounts = sorted({re.search(r"type=(\w+)", f).group(1) for f in flags if f.startswith("--mount=")})
        return " ".join(["RUN"] + mounts[:1])
    return word


def pairs(program):
    """Neighbours in a stage."""
    found, last = set(), None
    for step in program["steps"]:
        now = kind(step)
        if last and now != "FROM":
            found.add((last, now))
        last = now
    return found


def worth(row):
    """How much an outcome tells: the edit changes it, and the image holds more than a name or two."""
    return 2 * (row["after"] != {"gone": [], "fs": []}) + (len(row["before"]["fs"]) > 2)


def choose(candidates, count):
    """Programs that together have every pair of neighbours, the richest first; then the others as they come."""
    chosen, covered = [], set()
    rest = list(candidates)
    sets = {p["seed"]: pairs(p) for p in rest}
    wanted = set().union(*sets.values())
    while covered != wanted and len(chosen) < count:
        best = max(rest, key=lambda p: (len(sets[p["seed"]] - covered), -len(p["dockerfile"])))
        chosen.append(best)
        rest.remove(best)
        covered |= sets[best["seed"]]
    return (chosen + rest)[:count], len(covered), len(wanted)


def record(options, builder, base):
    """Builds candidates without a cache, twice: what does not come out the same is left out. What was built is kept in
    a file beside the candidates, so that a recorder that was ended goes on there."""
    journal, lock = options.record + ".recorded", threading.Lock()
    known = {row["seed"]: row for row in read_lines(journal)} if os.path.exists(journal) else {}

    def keep(row):
        with lock, open(journal, "a", encoding="utf-8") as f:
            known[row["seed"]] = row
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")

    def one(program):
        if program["seed"] in known:
            return
        rows = []
        with Place(options) as place:
            for state in states(program):
                place.enter(state)
                first, second = (pack(place.build(builder, base)) for _ in range(2))
                errors = [r["error"] for r in (first, second) if "error" in r]
                if any(re.search(ABSENT, e) for e in errors):
                    raise RuntimeError("the builder can't be reached or has no room: " + errors[0])
                if first != second and len(errors) < 2:
                    print("unsteady: seed %d" % program["seed"], flush=True)
                    return keep({"seed": program["seed"], "before": {"error": "unsteady"}})
                rows.append(first)
        keep({"seed": program["seed"], "before": rows[0], "after": fold(*rows)})
    candidates = read_lines(options.record)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, candidates))
    kept = {seed: shorten(row) for seed, row in known.items() if "error" not in row["before"]}
    kept = {seed: row for seed, row in kept.items() if len(json.dumps(row)) < MOST}
    built = sorted((c for c in candidates if c["seed"] in kept), key=lambda c: -worth(kept[c["seed"]]))
    chosen, covered, wanted = choose(built, options.count)
    chosen.sort(key=lambda p: p["seed"])
    for program in chosen:
        program.pop("steps")
    write_lines(os.path.join(HERE, "programs.jsonl"), chosen)
    write_lines(os.path.join(HERE, "outcomes.jsonl"), [kept[p["seed"]] for p in chosen])
    print("%d programs of %d candidates, %d of %d pairs" % (len(chosen), len(candidates), covered, wanted))


def check(options, builder, base):
    outcomes = {row["seed"]: lengthen(row) for row in read_lines(os.path.join(HERE, "outcomes.jsonl"))}
    programs = [p for p in read_lines(os.path.join(HERE, "programs.jsonl")) if not options.seed or p["seed"] in options.seed]
    compare = {"compare": ["config", "fs", "history", "layers"]}

    def one(program):
        row = outcomes[program["seed"]]
        wanted = [unpack(row["before"]), unpack(unfold(row["before"], row["after"]))]
        with Place(options) as place:
            for name, state, want in zip(("before", "after"), states(program), wanted):
                place.enter(state)
                got = place.build(builder, base)
                if got["outcome"] == "ok":
                    got["image"]["layer_paths"] = []
                why = conformance.check(compare, want, got, None)
                if why:
                    print("FAIL %d %s: %s" % (program["seed"], name, why.replace("\n", " | ")), flush=True)
                    return False
        return True
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        passed = list(pool.map(one, programs))
    print("%d passed, %d failed" % (sum(passed), len(passed) - sum(passed)))
    return 0 if all(passed) else 1


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--builder", required=True)
    ap.add_argument("--record", metavar="CANDIDATES")
    ap.add_argument("--count", type=int, default=420)
    ap.add_argument("--seed", type=int, action="append", help="only this program (may repeat)")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--timeout", type=int, default=60)
    ap.add_argument("--bases", default=os.path.join(HERE, "../conformance/.bases"))
    ap.add_argument("--registry", default=conformance.REG)
    ap.add_argument("--tmp", default=None)
    options = ap.parse_args()
    base = conformance.Base(options.bases)
    if options.record:
        command = options.builder + " " if "buildctl" not in options.builder else options.builder
        class Uncached(conformance.Buildctl):
            def argv(self, *args):
                return super().argv(*args) + ["--no-cache"]
        return record(options, Uncached(command, options), base)
    name = os.path.basename(shlex.split(options.builder)[0])
    adapter = conformance.Buildctl if name == "buildctl" else conformance.Docker
    return check(options, adapter(re.sub(r"^docker:", "", options.builder), options), base)


if __name__ == "__main__":
    sys.exit(main())
