"""The system programs that the suite drives: the ones on PATH, else Debian's packages unpacked into a cache.

Nothing is installed and no service is enabled or started: apt works on package lists of our own, and each package, with
the dependencies that this system lacks, is unpacked into a folder that a small script points the program to.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiops.bootstrap.console import BootstrapError, Progress, run_tool, say, step

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aiops-console" / "debian"
NEVER_UNPACKED = {"libc6", "libc-bin"}  # another C library than the loader's own crashes everything
# Debian's Alertmanager reads its templates from here and nowhere else. Unpacked, it looks in the folder that it is started in.
ALERTMANAGER_SHARE = "/usr/share/prometheus/alertmanager"
CANNOT_START = (126, 127)  # exit codes of a program whose libraries are missing, or that is not there


@dataclass(frozen=True)
class Program:
    """`variable` tells the tests where it is; `names` are looked for on PATH, `file` in the unpacked package."""

    variable: str
    package: str
    names: tuple[str, ...]
    file: str
    tests: str


PROGRAMS = (
    Program(
        "AIOPS_TEST_CHROMIUM",
        "chromium",
        ("chromium", "chromium-browser", "google-chrome"),
        "usr/lib/chromium/chromium",
        "the tests in a browser",
    ),
    Program("AIOPS_TEST_SSHD", "openssh-server", ("sshd",), "usr/sbin/sshd", "the tests against a real SSH server"),
    Program(
        "AIOPS_TEST_ALERTMANAGER",
        "prometheus-alertmanager",
        ("prometheus-alertmanager", "alertmanager"),
        "usr/bin/prometheus-alertmanager",
        "the tests with a real Alertmanager",
    ),
)


def ensure() -> dict[str, str]:
    """Where each program is, by the variable's name; one that cannot be had is left out, after saying so."""
    found = {}
    for program in PROGRAMS:
        path = os.environ.get(program.variable) or _on_path(program) or _from_cache(program)
        if path:
            found[program.variable] = path
    if "AIOPS_TEST_SSHD" in found and os.geteuid() == 0:
        _allow_root_to_run_sshd()
    return found


def _on_path(program: Program) -> str | None:
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return next(filter(None, (shutil.which(name, path=search) for name in program.names)), None)


def _from_cache(program: Program) -> str | None:
    script = CACHE / program.package / "run"
    if script.exists() and _starts(script):
        return str(script)
    try:
        with step(f"Debian's {program.package}, unpacked into {CACHE}") as progress:
            _unpack(program, progress)
            if not _starts(script):
                raise BootstrapError(f"{script} does not start on this system.")
    except BootstrapError as exc:
        say(f"{exc}\nWithout {program.package} {program.tests} are skipped (Debian: apt install {program.package}).")
        return None
    return str(script)


def _starts(script: Path) -> bool:
    result = subprocess.run(
        [script, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    return result.returncode not in CANNOT_START


def _unpack(program: Program, progress: Progress) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise BootstrapError("This system has no apt-get and dpkg-deb to fetch it with.")
    place, partial = CACHE / program.package, CACHE / f"{program.package}.partial"
    for folder in (place, partial):
        shutil.rmtree(folder, ignore_errors=True)
    archives = partial / "archives"
    archives.mkdir(parents=True)
    progress.detail = "package lists"
    _apt(progress, "update", "-qq")
    progress.detail = "dependencies"
    wanted = missing_packages(_apt(progress, "install", "--simulate", "--no-install-recommends", program.package))
    progress.detail = f"fetching {len(wanted)} packages"
    _apt(progress, "download", "-qq", *wanted, folder=archives)
    for number, archive in enumerate(sorted(archives.glob("*.deb")), start=1):
        progress.detail = f"unpacking {number} of {len(wanted)}"
        run_tool(["dpkg-deb", "-x", archive, partial], progress)
    shutil.rmtree(archives)
    if not (partial / program.file).exists():
        raise BootstrapError(f"This system's {program.package} package does not hold {program.file}.")
    if program.package == "prometheus-alertmanager":
        _look_for_templates_here(partial / program.file)
    partial.rename(place)
    script = place / "run"
    script.write_text(_script(place, program))
    script.chmod(0o755)


def _look_for_templates_here(alertmanager: Path) -> None:
    """Replace the absolute path by "./././…" of the same length: a Go program's strings cannot change theirs."""
    path = ALERTMANAGER_SHARE.encode()
    alertmanager.write_bytes(alertmanager.read_bytes().replace(path, b"./" * (len(path) // 2)))


def _apt(progress: Progress, *arguments: str, folder: Path | None = None) -> str:
    lists, cache = CACHE / "apt" / "lists", CACHE / "apt" / "cache"
    for part in (lists / "partial", cache / "archives" / "partial"):
        part.mkdir(parents=True, exist_ok=True)
    options = {"Dir::State::lists": lists, "Dir::Cache": cache, "APT::Sandbox::User": "root"}
    set_options = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return run_tool(
        ["apt-get", *set_options, *arguments],
        progress,
        environment={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        folder=folder,
    )


def missing_packages(simulation: str) -> list[str]:
    """`name=version` of each package that `apt-get install` would bring: "Inst libnss3 (2:3.87.1-1 Debian:12 [amd64])"."""
    found = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", simulation, re.MULTILINE)
    return [f"{name}={version}" for name, version in found if name not in NEVER_UNPACKED]


def _script(place: Path, program: Program) -> str:
    variables = {"LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in _library_folders(place))}
    if (place / "etc/fonts/fonts.conf").exists():
        variables["FONTCONFIG_SYSROOT"] = str(place)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    options = place_to_start = ""
    if program.package == "prometheus-alertmanager":
        place_to_start = f"cd {shlex.quote(str(place) + ALERTMANAGER_SHARE)}\n"
    if program.package == "openssh-server":
        # Since OpenSSH 9.8 sshd starts helpers, by absolute paths of the system's.
        helpers = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
        paths = {option: place / "usr/lib/openssh" / name for option, name in helpers.items()}
        options = "".join(f" -o {option}={shlex.quote(str(path))}" for option, path in paths.items() if path.exists())
    return f'#!/bin/sh\n{exports}{place_to_start}exec {shlex.quote(str(place / program.file))}{options} "$@"\n'


def _library_folders(place: Path) -> list[Path]:
    def folders() -> Iterator[Path]:
        for top in ("lib", "usr/lib"):
            for library in sorted((place / top).rglob("lib*.so*")):
                yield library.parent

    return sorted(dict.fromkeys(folders()), key=lambda folder: len(folder.parts))


def _allow_root_to_run_sshd() -> None:
    """What the package's set-up would have made: root's sshd wants a user to hand its network side to, and a folder."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        say("Adding the system user `sshd`, without which root cannot run sshd (undo: userdel sshd).")
        command = ["useradd", "--system", "--no-create-home", "--home-dir", "/run/sshd", "--shell", "/usr/sbin/nologin"]
        subprocess.run([*command, "sshd"], check=False)
