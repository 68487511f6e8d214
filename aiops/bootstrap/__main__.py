"""python3 -m aiops.bootstrap COMMAND [arguments]. Needs nothing but Python; the Makefile's targets are these commands."""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)  # this one file must be readable to older ones: no newer syntax here
IS_RECENT = "import sys; sys.exit(sys.version_info < (3, 11))"


def main() -> int:
    if sys.version_info < OLDEST:
        return _with_newer_python()
    from aiops.bootstrap.commands import run_command  # noqa: PLC0415 (older Pythons cannot read it)

    return run_command(sys.argv[1:])


def _with_newer_python() -> int:
    for minor in range(20, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", IS_RECENT], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.execv(found, [found, "-m", "aiops.bootstrap", *sys.argv[1:]])  # noqa: S606 (no shell is wanted)
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.stderr.write(
        f"Python 3.11 or newer is needed, and this is {version} ({sys.executable}). Install a newer one.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
