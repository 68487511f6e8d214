"""`make demo`: the console with a real model on this machine, and a sample alert that it analyses.

It has a data folder of its own (var/demo), so nothing of yours is touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests import local_model

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = ROOT / "var" / "demo"
PORT = int(os.environ.get("PORT", "8000"))
MODEL_PORT = PORT + 100
ENVIRONMENT = {
    **os.environ,
    "AIOPS_DATA_DIR": str(DATA_DIR),
    "PORT": str(PORT),
}
# A small model fills the form faster than it thinks; these keep its answer short.
PARAMETERS = json.dumps({"temperature": 0.7, "max_tokens": 3000})


def manage(*arguments: str) -> None:
    if subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=ENVIRONMENT, check=False).returncode:
        raise SystemExit(f"manage.py {arguments[0]} failed; what it said is above.")


def wait_until_ready(console: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if console.poll() is not None:
            raise SystemExit("The console ended; what it said is above.")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"The console was not ready within two minutes: see http://127.0.0.1:{PORT}/readyz.")


def set_up(model_url: str) -> None:
    manage(
        "create_provider", "SmolLM2 on this machine", "--type", "openai", "--model", local_model.MODEL,
        "--api-base", model_url, "--config", PARAMETERS, "--default",
    )  # fmt: skip
    manage("create_rule", "Analyse everything", "--alert-name", "*", "--severity", "*", "--action", "auto_analyze")
    manage("send_test_alert")


def main() -> None:
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    with local_model.running(MODEL_PORT, DATA_DIR / "model.log") as model_url:
        print(
            f"A real (and very small) model answers on {model_url}; its words prove the pipe, not the diagnosis.",
            flush=True,
        )
        console = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=ENVIRONMENT)
        try:
            wait_until_ready(console)
            set_up(model_url)
            print(
                f"\nA sample alert is being analysed: http://127.0.0.1:{PORT}/alerts/   (Ctrl-C stops the demo)",
                flush=True,
            )
            console.wait()
        except KeyboardInterrupt:
            pass
        finally:
            console.terminate()
            console.wait(30)


if __name__ == "__main__":
    main()
