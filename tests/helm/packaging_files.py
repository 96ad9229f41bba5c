"""The Dockerfile, by the rules of its linters that matter here, and the systemd units, by systemd's own checks."""

import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = ROOT / "packaging"
# By `systemd-analyze security`, from 0 (nothing is exposed) to 10.
MOST_EXPOSED = 2.0


def instructions(text):
    """Each instruction of a Dockerfile and its arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), " ".join(rest.split())


def dockerfile(text):
    """What is wrong with a Dockerfile."""
    found = list(instructions(text))
    stages = set()
    for name, rest in found:
        if name == "FROM":
            image, _, alias = rest.partition(" AS ")
            if image != "scratch" and image not in stages and not re.search(r":\d[\w.-]*$|@sha256:", image):
                yield f"FROM {image}: no version is pinned"
            stages.add(alias)
        if name == "ADD":
            yield "ADD does more than it says: COPY"
        if name == "MAINTAINER":
            yield "MAINTAINER is no more: LABEL"
        if name in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            yield f"{name} {rest}: a shell would stand between the signal and the program: write a list"
        if name == "HEALTHCHECK" and "CMD [" not in rest:
            yield f"HEALTHCHECK {rest}: there is no shell: write a list"
        if name == "RUN":
            yield from run(rest)
        if name in ("WORKDIR",) and not rest.startswith("/"):
            yield f"WORKDIR {rest}: not absolute"
        if name in ("ENV", "ARG") and re.search(r"PASSWORD|TOKEN|SECRET|URI", rest):
            yield f"{name} {rest}: a secret would stay in the image"
    last = [n for n, (name, _) in enumerate(found) if name == "FROM"][-1]
    final = dict(found[last:])
    if final.get("USER", "root").split(":")[0] in ("root", "0") or not final.get("USER", "x")[0].isdigit():
        yield "USER: the image runs as root, or as a name that Kubernetes cannot tell from root"
    for name, wanted in (("STOPSIGNAL", "SIGTERM"), ("HEALTHCHECK", "tidegate"), ("ENTRYPOINT", "tidegate")):
        if wanted not in final.get(name, ""):
            yield f"{name} is {final.get(name)}: {wanted} is missing"


def run(command):
    """What is wrong with a RUN."""
    if "apt-get install" in command:
        if "apt-get update" not in command:
            yield "apt-get install: update in the same RUN, or an old list is taken from the cache"
        if "--no-install-recommends" not in command:
            yield "apt-get install: --no-install-recommends is missing"
        if "rm -rf /var/lib/apt/lists" not in command:
            yield "apt-get install: the lists stay in the layer"
    if re.search(r"\b(sudo|apt|ssh|vim) ", command.replace("apt-get", "")):
        yield f"RUN {command}: has no place in an image"
    if re.search(r"\bcd ", command):
        yield f"RUN {command}: WORKDIR instead of cd"
    if re.search(r"(curl|wget) ", command):
        yield f"RUN {command}: fetches what nothing pins"


# Each breaks one rule; a linter that lets one pass checks nothing.
BAD = [
    "FROM rust\n",
    "FROM rust:latest\n",
    "FROM scratch\nADD a b\n",
    "FROM scratch\nCMD tidegate run\n",
    "FROM scratch\nHEALTHCHECK CMD tidegate status\n",
    "FROM scratch\nRUN apt-get update && apt-get install -y --no-install-recommends a\n",
    "FROM scratch\nRUN apt-get update && apt-get install -y a && rm -rf /var/lib/apt/lists/*\n",
    "FROM scratch\nRUN apt-get install --no-install-recommends a \\\n && rm -rf /var/lib/apt/lists/*\n",
    "FROM scratch\nRUN curl x | sh\n",
    "FROM scratch\nWORKDIR build\n",
    "FROM scratch\nENV TIDEGATE_TOKEN=x\n",
    "FROM scratch\nUSER root\n",
    "FROM scratch\nUSER tidegate\n",
]
GOOD_END = 'USER 1:1\nSTOPSIGNAL SIGTERM\nHEALTHCHECK CMD ["tidegate"]\nENTRYPOINT ["tidegate"]\n'


def linter():
    for text in BAD:
        end = GOOD_END.replace("USER 1:1\n", "") if "USER" in text else GOOD_END
        if len(list(dockerfile(text + end))) != 1:
            yield f"the linter finds {list(dockerfile(text + end))} in {text!r}"


def copied():
    """The build has what the manifest names: what .dockerignore leaves out must not be needed."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    manifest = (ROOT / "Cargo.toml").read_text()
    for needed in {"Cargo.toml", "Cargo.lock", "src"} | ({"benches"} if "[[bench]]" in manifest else set()):
        if needed not in kept:
            yield f".dockerignore leaves {needed} out, which the build needs"
    if re.search(r"^build = |\[build-dependencies\]", manifest, re.M) and "build.rs" not in kept:
        yield ".dockerignore leaves build.rs out"
    for path in (ROOT / "src").rglob("*.rs"):
        text = path.read_text()
        for included in re.findall(r'include_(?:str|bytes)!\("((?:\.\./)+[^"]+)"\)', text):
            target = (path.parent / included).resolve().relative_to(ROOT)
            if target.parts[0] not in kept and "tests" not in str(path.relative_to(ROOT)):
                yield f".dockerignore leaves {target} out, which {path.relative_to(ROOT)} includes"


def systemd():
    """Verified with a program that is there; without systemd's tools there is no verdict, which is a fault."""
    if not shutil.which("systemd-analyze"):
        yield "systemd-analyze is missing (Debian: apt-get install systemd)"
        return
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for unit in sorted(UNITS.iterdir()):
            copy = pathlib.Path(folder, unit.name)
            copy.write_text(unit.read_text().replace("/usr/local/bin/tidegate", "/bin/true"))
            copies.append(str(copy))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True)
        # Units of the host itself are looked at, too, and are no concern of ours.
        for line in done.stderr.splitlines():
            if "tidegate" in line:
                yield f"systemd-analyze verify: {line}"
        if done.returncode and "tidegate" not in done.stderr:
            yield f"systemd-analyze verify failed: {done.stderr}"
        service = str(pathlib.Path(folder, "tidegate.service"))
        done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", service], capture_output=True, text=True)
        score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        if not score or float(score[1]) > MOST_EXPOSED:
            yield f"systemd-analyze security: {score[0] if score else done.stderr}"


def stop_fits():
    """The kill comes after the drain."""
    deadline = re.search(r'^# deadline = "(\d+)s"', (ROOT / "proxy.toml").read_text(), re.M)
    stop = re.search(r"^TimeoutStopSec=(\d+)s", (UNITS / "tidegate.service").read_text(), re.M)
    if int(stop[1]) < int(deadline[1]) + 5:
        yield f"TimeoutStopSec={stop[1]}s is too short for a drain of {deadline[1]} s"


def check():
    """All that is wrong with these files."""
    problems = [f"Dockerfile: {problem}" for problem in dockerfile((ROOT / "Dockerfile").read_text())]
    for each in linter, copied, systemd, stop_fits:
        problems += each()
    return problems, "the Dockerfile and the units"
