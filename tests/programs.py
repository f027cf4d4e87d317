"""Programs run in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def said_before_torch(name: str, *words: str, cwd: Path = ROOT) -> str:
    """What a program prints, and its exit status or last words; it must not import PyTorch.

    Args:
        name: of a script in the root, or of a module.
        words: on its command line.
        cwd: folder to run it in.
    """
    if name.endswith(".py"):
        start = f"run_path({str(ROOT / name)!r}, run_name='__main__')"
    else:
        start = f"run_module({name!r}, run_name='__main__', alter_sys=True)"
    code = (
        f"import sys, runpy; sys.argv = [{name!r}, *{words!r}]\n"
        "try:\n"
        f"    runpy.{start}\n"
        "except SystemExit as stop:\n"
        "    print(stop.code)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
