"""`node_modules`, by `npm ci` from the committed lock: with the system's Node where it is recent enough, else with PyPI's."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from aiops.bootstrap import packages
from aiops.bootstrap.console import run_tool, step

OLDEST_NODE = 18
OLDEST_NPM = 8
LOCK = packages.CHECKOUT / "package-lock.json"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STAMP = packages.CHECKOUT / "node_modules" / ".installed"


def installed() -> bool:
    return STAMP.exists() and STAMP.read_text() == _digest()


def ensure() -> None:
    if installed():
        return
    npm = _npm()
    STAMP.unlink(missing_ok=True)
    with step("Front end (npm ci)") as progress:
        run_tool(
            # No install scripts: these packages are files for the browser.
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            progress,
            environment=_environment(npm),
            folder=packages.CHECKOUT,
        )
    STAMP.write_text(_digest())


def _environment(npm: Path) -> dict[str, str]:
    variables = {**os.environ, "PATH": os.pathsep.join([str(npm.parent), os.environ.get("PATH", os.defpath)])}
    if SYSTEM_CERTIFICATES.exists():  # Node knows its own alone, and not the company's proxy
        variables.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    return variables


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _npm() -> Path:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= OLDEST_NODE and _major(npm) >= OLDEST_NPM:
        return Path(npm)
    packages.ensure([packages.NODE])
    return packages.VENV / "bin" / "npm"


def _major(program: str) -> int:
    """The first number of `program --version`; 0 when it has none to say."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v?(\d+)\.", said)
    return int(found.group(1)) if found else 0
