from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DECOYS = "pandas", "polars"
# What TA-Lib looks for in them, so that it would take the decoys for the real ones.
DECOY = "class Series: ...\nclass DataFrame: ...\n"


def asked(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"]
    return subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("name", DECOYS)
def test_the_indicator_library_does_not_bring_in_pandas_or_polars_that_happen_to_be_installed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text(DECOY)
    code = f"from aaos.domain.signals.ta_lib import talib; assert {name!r} not in sys.modules; import {name}"
    ended = asked(code, tmp_path)
    assert ended.returncode == 0, ended.stderr
    plainly = asked(f"import talib; assert {name!r} in sys.modules", tmp_path)
    assert plainly.returncode == 0, f"TA-Lib no longer imports {name} by itself: {plainly.stderr}"


@pytest.mark.parametrize("name", DECOYS)
def test_a_pandas_or_polars_that_the_process_has_already_stays_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(DECOY)
    code = f"import {name}; from aaos.domain.signals.ta_lib import talib; assert sys.modules[{name!r}] is {name}"
    assert asked(code, tmp_path).returncode == 0
