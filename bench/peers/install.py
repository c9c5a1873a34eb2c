"""The peers' own virtual environment: made when first needed, so that aaos itself never depends on them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.environment import ROOT, SCRATCH

VENV = SCRATCH / "venv"
REQUIREMENTS = ROOT / "bench" / "requirements.txt"


def peers_python() -> Path | None:
    """The Python that has the peers; None, with the reason printed, where they cannot be installed."""
    python, stamp = VENV / "bin" / "python", VENV / "stamp"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(VENV, ignore_errors=True)
    print("installing the peers (once) into", VENV.relative_to(ROOT), flush=True)
    steps = (
        [sys.executable, "-m", "venv", "--without-pip", str(VENV)],
        [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "-r", str(REQUIREMENTS)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print("the peers are left out, they could not be installed:", done.stderr.strip()[-500:], flush=True)
            return None
    stamp.write_text(wanted)
    return python
