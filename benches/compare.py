#!/usr/bin/env python3
"""Compares kiln with the builders that are installed, on the same files, and draws the result.

    benches/setup.sh /var/tmp/kiln-bench       # once, as root: a registry on loopback with the base images
    benches/compare.py /var/tmp/kiln-bench     # the table, results.json and chart.svg in that folder

  --only small,context     these workloads           --runs N     the median of N (default 3)
  --builders kiln,docker   these builders            --fast       a tenth of the files, to see that it works

Builders: `kiln` ($KILN or target/release/kiln), `docker` (a running dockerd), `buildah`, `buildctl` (a running buildkitd).
Phases of a workload: `cold` ignores the cache, `noop` changes nothing, `edit` changes one file, `tar` and `zstd` write an OCI
tarball of a cached build, `coldtar` and `coldzstd` of one that ignores the cache. `pull` begins with an empty store; `remote`
too, with a cache in the registry that another machine has filled (kiln and buildctl).
Every phase is run in turn by all builders, so that what else the machine does meets all of them. Bases are pulled before the
clock starts, and the disk is synced. Memory is the peak of the builder's largest process (for docker the daemon's), as the kernel reports it.
Only ratios of one run mean something elsewhere. Only the standard library is used.
"""
import argparse, json, os, random, resource, shutil, statistics, string, subprocess, sys, threading, time
from pathlib import Path

HERE = Path(__file__).resolve().parent


# What is built ----------------------------------------------------------------------------------------------------

def words(rng, size):
    """Text of about `size` bytes that compresses about as well as source code does."""
    if not hasattr(words, "known"):
        words.known = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(5000)]
    return " ".join(rng.choices(words.known, k=max(1, size // 6))) + "\n"


def files(folder, count, per_folder, size):
    rng = random.Random(7)
    for number in range(count):
        place = folder / f"p{number // per_folder}"
        if number % per_folder == 0:
            place.mkdir(parents=True)
        (place / f"{number}.txt").write_text(words(rng, rng.randint(size // 3, size * 5 // 3)))


class Workload:
    """A Dockerfile, its context, and the phases that are measured."""

    def __init__(self, name, title, phases, dockerfile, fill=None, edited=None, args=()):
        self.name, self.title, self.phases, self.dockerfile = name, title, phases, dockerfile
        self.fill, self.edited, self.args = fill, edited, list(args)

    def prepare(self, folder, registry, scale):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "context").mkdir(parents=True)
        self.registry = registry
        (folder / "Dockerfile").write_text(self.dockerfile.replace("$BASES", registry))
        if self.fill:
            self.fill(folder / "context", scale)

    def edit(self, folder):
        (folder / "context" / self.edited).write_text(f"changed at {time.time_ns()}\n")


def many(context, scale):
    files(context, 50_000 // scale, 100, 4096)


def application(context, scale):
    files(context / "src", 2_000 // scale, 40, 3000)
    (context / "wanted.txt").write_text("one\ntwo\n")


def one(context, _):
    (context / "greeting").write_text("hello\n")


COUNT = "i=0; while [ $i -lt 120 ]; do head -c 1000000 /bin/busybox | sha256sum >> /o; i=$((i+1)); done"
FILL = "mkdir /big && for i in 1 2 3 4 5 6; do tar -C / -cf /big/$i.tar usr lib bin sbin 2>/dev/null || true; done"
TRUE = "".join(f"RUN : {number}\n" for number in range(30))
STAGES = "".join(f"FROM $BASES/busybox AS s{n}\nRUN : {n}; {COUNT}\n" for n in range(4))
JOIN = "FROM $BASES/busybox\n" + "".join(f"COPY --from=s{n} /o /o{n}\n" for n in range(4))

WORKLOADS = [
    Workload("small", "COPY of a file and a RUN", ["cold", "noop", "edit", "tar"],
             'FROM $BASES/busybox\nCOPY greeting /greeting\nRUN cat /greeting > /copy\nCMD ["cat", "/copy"]\n', one, "greeting"),
    Workload("runs", "30 RUN steps that write a small file", ["cold", "noop"],
             "FROM $BASES/busybox\n" + "".join(f"RUN echo {n} > /n{n}\n" for n in range(30))),
    Workload("context", "COPY of 50,000 files", ["cold", "noop", "edit"],
             "FROM $BASES/busybox\nWORKDIR /src\nCOPY . .\nENV A=1\n", many, "p0/0.txt"),
    Workload("mounted", "the same, then a RUN that lists them", ["cold", "noop", "edit"],
             "FROM $BASES/busybox\nWORKDIR /src\nCOPY . .\nRUN find /src -type f | wc -l > /count\n", many, "p0/0.txt"),
    Workload("deps", "install, copy sources, compile, two stages", ["cold", "noop", "edit", "remote"],
             "FROM $BASES/debian AS build\nWORKDIR /app\nCOPY wanted.txt .\n"
             "RUN mkdir /deps && for i in $(seq 400); do head -c 65536 /usr/bin/perl > /deps/$i; done\n"
             "COPY src src\nRUN find src -type f | xargs cat | sha256sum > out\n"
             "FROM $BASES/busybox\nCOPY --from=build /app/out /bin/app\nCOPY --from=build /deps /deps\n",
             application, "src/p0/0.txt"),
    Workload("stages", "four stages of work at once, joined", ["cold", "noop"], STAGES + JOIN),
    Workload("biglayer", "a RUN that leaves 600 MB", ["cold", "coldtar", "coldzstd", "tar"], f"FROM $BASES/debian\nRUN {FILL}\n"),
    Workload("pull", "a base of 500 MB from the registry", ["pull"], "FROM $BASES/heavy\nRUN :\n"),
    Workload("jobs", "eight builds at once", ["jobs"],
             "FROM $BASES/debian\nARG N\nCOPY src src\nRUN : $N; find src -type f | xargs cat | sha256sum > /out\n", application),
    Workload("net-default", "30 RUN steps, the default network", ["cold"], "FROM $BASES/busybox\n" + TRUE),
    Workload("net-none", "30 RUN steps, no network", ["cold"], "FROM $BASES/busybox\n" + TRUE, args=["--network=none"]),
    Workload("net-host", "30 RUN steps, the host's network", ["cold"], "FROM $BASES/busybox\n" + TRUE, args=["--network=host"]),
]


# Who builds it ----------------------------------------------------------------------------------------------------

def run(command, env=None):
    """Runs a command; gives the peak memory of its largest process in KiB."""
    with open(os.environ.get("BENCH_LOG", os.devnull), "ab") as log:
        child = subprocess.Popen([str(part) for part in command], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"exit code {child.returncode}: {' '.join(map(str, command))}")
    return usage.ru_maxrss


class Kiln:
    name = "kiln"

    def __init__(self, folder):
        self.program = os.environ.get("KILN", str(HERE.parent / "target/release/kiln"))
        self.root = folder / "kiln"
        self.old = folder / "old"

    def there(self):
        return shutil.which(self.program)

    def build(self, folder, tag, args, tarball):
        out = ["-o", f"type=oci,dest={tarball[0]},compression={tarball[1]}"] if tarball else []
        return run([self.program, "build", "--progress=plain", "-f", folder / "Dockerfile", "-t", tag, *out, *args, folder / "context"],
                   {"KILN_ROOT": str(self.root)})

    def empty(self):
        # Put aside, not deleted: the file system would look for a long time at what was freed.
        if self.root.exists():
            self.old.mkdir(parents=True, exist_ok=True)
            self.root.rename(self.old / str(time.time_ns()))

    def cache(self, place, verb):
        return [f"--cache-{verb}", f"type=registry,ref={place}"]


class Docker:
    name = "docker"

    def __init__(self, _):
        self.program = os.environ.get("DOCKER", "docker")

    def there(self):
        return shutil.which(self.program) and subprocess.run([self.program, "info"], capture_output=True).returncode == 0

    def daemon(self):
        found = subprocess.run(["pidof", "dockerd"], capture_output=True, text=True).stdout.split()
        return Path("/proc", found[0]) if found else None

    def build(self, folder, tag, args, tarball):
        daemon = self.daemon()
        if daemon:
            (daemon / "clear_refs").write_text("5")                 # the peak counts anew: proc_pid_clear_refs(5)
        own = run([self.program, "build", "-q", "-f", folder / "Dockerfile", "-t", tag, *args, folder / "context"], {"DOCKER_BUILDKIT": "1"})
        if tarball:
            run([self.program, "save", "-o", tarball[0], tag])      # uncompressed: it is shown, but not compared
        lines = (daemon / "status").read_text().splitlines() if daemon else []
        return max([own] + [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")])

    def empty(self):
        # Its builder keeps what it pulled: there is no way to make it forget one image.
        subprocess.run([self.program, "builder", "prune", "-af"], capture_output=True)


class Buildah:
    name = "buildah"

    def __init__(self, folder):
        self.program = os.environ.get("BUILDAH", "buildah")
        self.base = [self.program, "--root", folder / "buildah", "--runroot", folder / "buildah-run", "--storage-driver", "overlay"]
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        runtime = shutil.which("runc")
        self.flags = ["--ulimit", f"nofile={files}:{files}", *(["--runtime", runtime] if runtime else [])]

    def there(self):
        return shutil.which(self.program)

    def build(self, folder, tag, args, tarball):
        # Its default network needs plugins that Debian does not install: the host's stands in.
        network = [] if any(arg.startswith("--network") for arg in args) else ["--network=host"]
        peak = run([*self.base, "build", "-q", "--layers", "--tls-verify=false", *self.flags, *network,
                    "-f", folder / "Dockerfile", "-t", tag, *args, folder / "context"])
        if tarball:
            peak = max(peak, run([*self.base, "push", "-q", "--compression-format", tarball[1], tag, f"oci-archive:{tarball[0]}"]))
        return peak

    def empty(self):
        subprocess.run([*self.base, "rmi", "-af"], capture_output=True)


class Buildctl:
    name = "buildctl"

    def __init__(self, _):
        self.program = os.environ.get("BUILDCTL", "buildctl")

    def there(self):
        return shutil.which(self.program) and subprocess.run([self.program, "debug", "workers"], capture_output=True).returncode == 0

    def build(self, folder, tag, args, tarball):
        options, rest = [], list(args)
        while rest:
            arg = rest.pop(0)
            if arg == "--build-arg":
                options += ["--opt", f"build-arg:{rest.pop(0)}"]
            elif arg.startswith("--network="):
                options += ["--opt", f"force-network-mode={arg.split('=')[1]}", "--allow", "network.host"]
            else:
                options.append(arg)
        out = f"type=oci,dest={tarball[0]},compression={tarball[1]},force-compression=true" if tarball else f"type=image,name={tag}"
        return run([self.program, "build", "--progress=plain", "--frontend=dockerfile.v0", "--local", f"context={folder / 'context'}",
                    "--local", f"dockerfile={folder}", *options, "--output", out])

    def empty(self):
        subprocess.run([self.program, "prune", "--all"], capture_output=True)

    def cache(self, place, verb):
        return ["--export-cache", f"type=registry,ref={place},mode=max"] if verb == "to" else ["--import-cache", f"type=registry,ref={place}"]


# The clock --------------------------------------------------------------------------------------------------------

def measure(builder, workload, phase, folder, out):
    """One build: seconds, KiB, bytes of the tarball."""
    args, tarball, tag = list(workload.args), None, f"bench-{workload.name}"
    if phase.startswith("cold"):
        args.append("--no-cache")
    if phase == "edit":
        workload.edit(folder)
    if phase.endswith(("tar", "zstd")):
        tarball = (out / f"{builder.name}.tar", "zstd" if phase.endswith("zstd") else "gzip")
        tarball[0].unlink(missing_ok=True)
    if phase == "remote":
        place = f"{workload.registry}/cache-{builder.name}-{workload.name}"
        builder.build(folder, tag, [*args, *builder.cache(place, "to")], None)
        args += builder.cache(place, "from")
    if phase in ("pull", "remote"):
        builder.empty()
    os.sync()                                                       # nobody pays for what another wrote
    began = time.perf_counter()
    if phase == "jobs":
        peak = together(builder, folder, tag)
    else:
        peak = builder.build(folder, tag, args, tarball)
    took = time.perf_counter() - began
    size = tarball[0].stat().st_size if tarball else None
    if tarball:
        tarball[0].unlink()
    return took, peak, size


def together(builder, folder, tag):
    salt, peaks = time.time_ns(), []
    def job(number):
        peaks.append(builder.build(folder, f"{tag}-{number}", ["--build-arg", f"N={salt}-{number}"], None))
    threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if len(peaks) < 8:
        raise RuntimeError(f"{8 - len(peaks)} of eight builds failed")
    return max(peaks)


def compare(workload, builders, folder, out, runs):
    rows = {}
    ready = []
    for builder in builders:
        try:
            builder.build(folder, f"bench-{workload.name}", workload.args, None)
            ready.append(builder)
        except RuntimeError as error:
            print(f"  {builder.name} can't build it: {error}", file=sys.stderr)
    for phase in workload.phases:
        got = {}
        for _ in range(runs):
            for builder in ready:
                if phase == "remote" and not hasattr(builder, "cache"):
                    continue
                try:
                    got.setdefault(builder.name, []).append(measure(builder, workload, phase, folder, out))
                except RuntimeError as error:
                    print(f"  {builder.name} {phase}: {error}", file=sys.stderr)
        rows[f"{workload.name}.{phase}"] = {
            name: {"seconds": statistics.median(took for took, _, _ in all_runs), "runs": [took for took, _, _ in all_runs],
                   "peak_kib": max(peak for _, peak, _ in all_runs), "bytes": all_runs[-1][2]}
            for name, all_runs in got.items()
        }
        print("  " + line(phase, rows[f"{workload.name}.{phase}"]), flush=True)
    return rows


def times(row, phase):
    """How many times as fast as the fastest other builder kiln is."""
    tarball = phase.endswith(("tar", "zstd"))
    others = [result["seconds"] for name, result in row.items() if name != "kiln" and not (tarball and name == "docker")]
    return min(others) / row["kiln"]["seconds"] if others and "kiln" in row else None


def line(phase, row):
    cells = [f"{name} {result['seconds']:.3f} s {result['peak_kib'] / 1024:.0f} MiB" for name, result in row.items()]
    ratio = times(row, phase)
    return f"{phase:9}" + " | ".join(cells) + (f" | {ratio:.1f}x" if ratio else "")


# The picture ------------------------------------------------------------------------------------------------------

COLORS = {"kiln": "#d9480f", "docker": "#868e96", "buildah": "#adb5bd", "buildctl": "#495057"}


def chart(results):
    """Bars of how many times as long as kiln the others take: one group a row, a logarithmic scale."""
    rows = [(name, row) for name, row in results.items() if "kiln" in row and len(row) > 1]
    names = [name for name in COLORS if any(name in row for _, row in rows)]
    bar, gap, left, width = 9, 8, 150, 560
    most = max((result["seconds"] / row["kiln"]["seconds"] for _, row in rows for result in row.values()), default=10)
    def length(ratio):
        import math
        return max(2.0, width * (math.log10(max(ratio, 1)) + 0.12) / (math.log10(max(most, 10)) + 0.12))
    parts, y = [], 34
    for at, name in enumerate(names):
        x = left + at * 90
        parts.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{COLORS[name]}"/><text x="{x + 15}" y="17">{name}</text>')
    for name, row in rows:
        parts.append(f'<text x="{left - 8}" y="{y + bar * len(row) / 2 + 4:.0f}" text-anchor="end">{name}</text>')
        for builder in names:
            if builder not in row:
                continue
            seconds = row[builder]["seconds"]
            ratio = seconds / row["kiln"]["seconds"]
            text = f"{seconds:.3g} s" + ("" if builder == "kiln" else f", {ratio:.1f}x")
            parts.append(f'<rect x="{left}" y="{y}" width="{length(ratio):.1f}" height="{bar - 1}" fill="{COLORS[builder]}"/>'
                         f'<text x="{left + length(ratio) + 4:.1f}" y="{y + bar - 1}" font-size="8.5">{text}</text>')
            y += bar
        y += gap
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{y + 22}" font-family="sans-serif" font-size="11" '
            f'fill="#212529"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}'
            f'<text x="{left}" y="{y + 12}" font-size="9">time of a build against kiln\'s, logarithmic; shorter is faster</text></svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--builders", default="kiln,docker,buildah,buildctl")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fast", action="store_true")
    args = parser.parse_args()
    registry = (args.folder / "registry").read_text().strip()
    builders = []
    for make in (Kiln, Docker, Buildah, Buildctl):
        if make.name in args.builders.split(","):
            builder = make(args.folder / "stores")
            builders.append(builder) if builder.there() else print(f"{make.name} is not there", file=sys.stderr)
    (args.folder / "stores").mkdir(exist_ok=True)
    results = {}
    for workload in WORKLOADS:
        if args.only and workload.name not in args.only.split(","):
            continue
        print(f"{workload.name}: {workload.title}")
        folder = args.folder / "work" / workload.name
        workload.prepare(folder, registry, 10 if args.fast else 1)
        results.update(compare(workload, builders, folder, args.folder, args.runs))
    # At the end: a file system may look for a long time at inodes that were freed a moment ago, and whoever builds next pays for it.
    shutil.rmtree(args.folder / "work", ignore_errors=True)
    shutil.rmtree(args.folder / "stores" / "old", ignore_errors=True)
    (args.folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.folder / "chart.svg").write_text(chart(results))
    print(f"{args.folder / 'results.json'}, {args.folder / 'chart.svg'}")


if __name__ == "__main__":
    main()
