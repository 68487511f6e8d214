"""The rules of the house: layers, sizes, documented settings, migrations. Each fails with the place and the remedy."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["aiops.lib", "audit", "accounts", "incidents", "infra", "assistant"]
BOUNDARIES = {
    "litellm": "assistant/llm.py",
    "paramiko": "infra/ssh.py",
    "procrastinate": "aiops/lib/jobs.py",
    "django_cryptography": "aiops/lib/secrets.py",
    "re2": "incidents/patterns.py",
}
MODULE_LINES, FUNCTION_LINES, VIEW_LINES, PAGE_LINES, FRAGMENT_LINES = 400, 40, 25, 120, 60


def tracked(*patterns: str) -> list[Path]:
    """Files of the project, whether committed yet or not, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for path in tracked("*.py") if "migrations" not in path.parts and "tests" not in path.parts]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def layer(module: str) -> int:
    """The layer's height; what belongs to none of the lower ones (settings, urls, server, commands) is on top."""
    for height, prefix in enumerate(LAYERS):
        if module == prefix or module.startswith(prefix + "."):
            return height
    return len(LAYERS)


def ours(module: str) -> bool:
    return module.split(".")[0] in {"aiops", *LAYERS}


def test_it_imports_along_the_foreign_keys_only() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in modules()
        for module, line in imports(path)
        if ours(module) and layer(module) > layer(name_of(path)) and module != "aiops"
    ]
    assert not upward, "Imports follow foreign keys (" + " ← ".join(LAYERS) + "):\n" + "\n".join(upward)


def test_each_foreign_library_has_one_home() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {module}; only {BOUNDARIES[module.split('.')[0]]} may"
        for path in modules()
        for module, line in imports(path)
        if module.split(".")[0] in BOUNDARIES
        and str(path.relative_to(ROOT)) != BOUNDARIES[module.split(".")[0]]
        and "bootstrap" not in path.parts
    ]
    assert not strays, "\n".join(strays)


def test_modules_and_functions_stay_small() -> None:
    long = []
    for path in modules():
        text = path.read_text()
        if (lines := text.count("\n")) > MODULE_LINES:
            long.append(f"{path.relative_to(ROOT)} has {lines} lines: split it by topic")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            limit = VIEW_LINES if path.stem == "views" or path.parent.stem == "views" else FUNCTION_LINES
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > limit:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines, at most {limit}")
    assert not long, "\n".join(long)


def test_templates_stay_small_and_fragments_have_one_root() -> None:
    wrong = []
    for path in tracked("templates/*.html"):
        lines = path.read_text().splitlines()
        limit = FRAGMENT_LINES if path.name.startswith("_") else PAGE_LINES
        if len(lines) > limit:
            wrong.append(f"{path.relative_to(ROOT)} has {len(lines)} lines, at most {limit}")
        if path.name.startswith("_") and not lines[0].startswith("{#"):
            wrong.append(f"{path.relative_to(ROOT)}: its first line names the context it needs, in a comment")
    assert not wrong, "\n".join(wrong)


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z][A-Z_]+)\"", (ROOT / "aiops/settings.py").read_text()))
    documented = set(re.findall(r"^\| `([A-Z][A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert read == documented, f"undocumented: {read - documented}; gone: {documented - read} (docs/settings.md)"


def test_no_dumping_ground_has_appeared() -> None:
    assert not [str(path) for path in modules() if path.stem in {"services", "utils", "helpers", "common", "misc"}]


def test_the_front_end_lock_names_no_registry() -> None:
    assert '"resolved": "http' not in (ROOT / "package-lock.json").read_text()


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    out = StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=out)
    except SystemExit:
        pytest.fail("Run manage.py makemigrations:\n" + out.getvalue())
