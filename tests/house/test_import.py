"""Does importing a module do nothing but define names?"""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "veilig"
IMPORT_MS_MAX = 100  # design: `import veilig` stays under 100 ms


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize("folder", sorted(p.name for p in SRC.iterdir() if (p / "__init__.py").exists()))
def test_importing_a_folder_prints_nothing_and_leaves_nothing(folder: str, tmp_path: Path) -> None:
    done = run(f"import veilig.{folder}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_import_veilig_takes_less_than_100_ms_of_cpu(tmp_path: Path) -> None:
    code = "import time; a = time.process_time(); import veilig; print((time.process_time() - a) * 1000)"
    assert min(float(run(code, tmp_path).stdout) for _ in range(3)) < IMPORT_MS_MAX


def test_the_kernel_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "import sys, pkgutil, importlib, veilig.core as c\n"
        "for m in pkgutil.iter_modules(c.__path__): importlib.import_module('veilig.core.' + m.name)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'pydantic_ai', 'openai', 'aiohttp'}))"
    )
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
