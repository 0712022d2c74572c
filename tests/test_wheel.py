"""What is installed: everything below mcsim/, so that no other package lands on the same files."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KERNEL = "mcsim/kernels/linux/page_alloc.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """A folder with the wheel that is made of the repository."""
    folder = tmp_path_factory.mktemp("direct")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, capture_output=True, check=True)
    return folder


def names_in_wheel(folder: Path) -> list[str]:
    [wheel] = folder.glob("*.whl")
    return sorted(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_holds_mcsim_and_nothing_beside_it(built: Path) -> None:
    names = names_in_wheel(built)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mcsim"}
    assert len({name.split("/")[0] for name in names}) == 2  # the package, and what is said about it
    assert len(set(names)) == len(names)


def test_a_wheel_holds_every_kernel_and_every_experiment(built: Path) -> None:
    names = names_in_wheel(built)
    kernels = {f"mcsim/{path.relative_to(ROOT)}" for path in (ROOT / "kernels").rglob("*.py")}
    experiments = {f"mcsim/{path.relative_to(ROOT)}" for path in (ROOT / "experiments").rglob("*.toml")}
    assert KERNEL in kernels
    assert kernels | experiments <= set(names)


def test_the_wheel_of_the_repository_is_that_of_the_source_archive(built: Path, direct: Path) -> None:
    assert names_in_wheel(direct) == names_in_wheel(built)


def test_a_source_archive_holds_the_kernels_once_and_as_files(built: Path) -> None:
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        found = [member for member in files.getmembers() if member.name.endswith("kernels/linux/page_alloc.py")]
    assert [(member.name.partition("/")[2], member.isfile()) for member in found] == [(KERNEL, True)]
