"""The set-up behind `make`, run for real in a small checkout of its own that needs nothing from the network."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aiops.bootstrap import commands, programs
from aiops.lib import environment

CHECKOUT = Path(__file__).resolve().parent.parent
SAYS_HOW_IT_WAS_STARTED = "import sys; print('started with', sys.argv[1:], sys.prefix != sys.base_prefix)\n"


class Checkout:
    """A folder with our bootstrap, empty lock files, and a `manage.py` that says how it was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("bootstrap", "lib"):
            shutil.copytree(CHECKOUT / "aiops" / part, folder / "aiops" / part)
        (folder / "aiops" / "__init__.py").touch()
        (folder / "manage.py").write_text(SAYS_HOW_IT_WAS_STARTED)
        (folder / "requirements.txt").write_text("# nothing\n")
        package = {"name": "small", "private": True}
        (folder / "package.json").write_text(json.dumps(package))
        (folder / "package-lock.json").write_text(
            json.dumps({**package, "lockfileVersion": 3, "packages": {"": package}})
        )
        (folder / "node_modules").mkdir()

    def bootstrap(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aiops.bootstrap", *arguments],
            cwd=self.folder,
            env={**os.environ, "DATABASE_URL": "postgres://elsewhere/aiops", "PIP_NO_INDEX": "1", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """A checkout after its first `run`, and what that said."""
    checkout = Checkout(tmp_path_factory.mktemp("small checkout"))
    result = checkout.bootstrap("run", "--port", "8001")
    assert result.returncode == 0, result.stderr
    return checkout, result.stdout


@pytest.fixture
def checkout(fresh: tuple[Checkout, str]) -> Checkout:
    return fresh[0]


def test_it_sets_up_each_part_and_starts_the_console_in_the_new_environment(fresh: tuple[Checkout, str]) -> None:
    steps = re.findall(r"^(.+): done \(\d+ s\)$", fresh[1], re.MULTILINE)
    assert steps == ["Virtual environment", "Python packages (runtime)", "Front end (npm ci)"]
    assert "started with ['up', '--port', '8001'] True" in fresh[1]


def test_it_says_nothing_when_all_is_there(checkout: Checkout) -> None:
    assert checkout.bootstrap("run").stdout == "started with ['up'] True\n"


def test_it_installs_again_when_a_lock_changed(checkout: Checkout) -> None:
    (checkout.folder / "requirements.txt").write_text("# nothing, but otherwise\n")
    assert "Python packages (runtime): done" in checkout.bootstrap("run").stdout
    assert checkout.bootstrap("run").stdout.startswith("started")


def test_it_repairs_an_environment_that_was_left_half_made(checkout: Checkout) -> None:
    (checkout.folder / ".venv" / ".installed-runtime").unlink()
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    result = checkout.bootstrap("run")
    assert "Virtual environment: done" in result.stdout
    assert "started" in result.stdout


def test_it_repeats_the_last_words_of_what_failed_and_tries_again_next_time(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.txt"
    before = lock.read_text()
    lock.write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    for _ in range(2):
        result = checkout.bootstrap("run")
        assert result.returncode == 1
        assert "No matching distribution found for no-such-package" in result.stderr
        assert "check the network" in result.stderr
        assert "Traceback" not in result.stderr
    lock.write_text(before)
    assert "started" in checkout.bootstrap("run").stdout


def test_it_names_the_package_that_lacks_where_python_has_no_venv(tmp_path: Path) -> None:
    (tmp_path / "lame").mkdir()
    (tmp_path / "lame" / "ensurepip.py").write_text("raise ImportError\n")
    (tmp_path / "checkout").mkdir()
    result = Checkout(tmp_path / "checkout").bootstrap("run", PYTHONPATH=str(tmp_path / "lame"))
    assert result.returncode == 1
    assert "apt install python3-venv" in result.stderr


def test_it_names_the_commands_there_are(checkout: Checkout) -> None:
    result = checkout.bootstrap("rnu")
    assert result.returncode == 2
    assert "run, install, test, test-slow" in result.stderr


def test_it_offers_each_command_as_a_target_of_make() -> None:
    targets = re.findall(r"^run .*(?=:$)", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert targets == list(commands.COMMANDS)


def test_it_starts_as_the_readme_says_without_django(tmp_path: Path) -> None:
    for name in ("manage.py", "aiops"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    code = "import runpy, sys; sys.argv = ['manage.py', 'up']; runpy.run_path('manage.py', run_name='__main__')"
    command = [sys.executable, "-S", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "run `make run` first" in result.stderr


def test_it_fetches_what_debian_would_install_but_never_another_c_library() -> None:
    simulated = (
        "Inst libc6 [2.36-9] (2.36-10 Debian:12.11/stable [amd64]) []\n"
        "Inst libnss3 (2:3.87.1-1+deb12u1 Debian:12.11/stable [amd64])\n"
        "Inst chromium (138.0-1~deb12u1 Debian-Security:12/stable-security [amd64])\n"
        "Conf libnss3 (2:3.87.1-1+deb12u1 Debian:12.11/stable [amd64])\n"
    )
    wanted = ["libnss3=2:3.87.1-1+deb12u1", "chromium=138.0-1~deb12u1"]
    assert programs.missing_packages(simulated) == wanted


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 failed"), ("", "1 skipped")])
def test_it_counts_a_skipped_test_as_failed_in_ci(tmp_path: Path, ci: str, outcome: str) -> None:
    (tmp_path / "test_needy.py").write_text("import pytest\ndef test_x(): pytest.skip('no such program')\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.plugin_ci", "-p", "no:django", "-c", os.devnull, tmp_path],
        cwd=CHECKOUT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in result.stdout
    assert "no such program" in result.stdout or not ci


def test_it_generates_the_secrets_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.GENERATED:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "data"
    code = "import sys, pathlib; from aiops.lib import environment; print(environment.load(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(folder)]
    starts = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({start.communicate()[0] for start in starts}) == 1
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert environment.load(folder).keys() >= environment.GENERATED.keys()


def test_it_adds_what_lacks_to_a_file_of_the_users_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "of the process")
    monkeypatch.delenv("AIOPS_SECRET_KEYS", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / ".env").write_text("# mine\nexport DATABASE_URL='postgres://db/aiops?sslmode=require'\nSECRET_KEY=old")
    values = environment.load(tmp_path)
    assert values["DATABASE_URL"] == "postgres://db/aiops?sslmode=require"
    assert values["SECRET_KEY"] == "of the process"
    text = (tmp_path / ".env").read_text()
    assert text.startswith(
        "# mine\nexport DATABASE_URL='postgres://db/aiops?sslmode=require'\nSECRET_KEY=old\nAIOPS_SECRET"
    )


def test_it_writes_no_file_when_the_process_brings_the_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.GENERATED:
        monkeypatch.setenv(name, "given")
    assert environment.load(tmp_path / "absent") == {}
    assert not (tmp_path / "absent").exists()


def test_it_says_whose_file_it_could_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    (tmp_path / "file").touch()
    with pytest.raises(environment.EnvironmentFileError, match=r"set AIOPS_DATA_DIR .* or set SECRET_KEY"):
        environment.load(tmp_path / "file" / "below")
