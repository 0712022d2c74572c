"""What comes along with mcsim: experiments, boards, releases, recordings."""

from pathlib import Path


def shipped_folder() -> Path:
    """Where it lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def shipped_files(kind: str = "") -> dict[str, Path]:
    """TOML files by name: experiments, or those of the folder `kind`."""
    return {path.stem: path for path in sorted((shipped_folder() / kind).glob("*.toml"))}


def template() -> str:
    """The experiment that `mcsim new` writes."""
    return (shipped_folder() / "templates" / "experiment.toml").read_text(encoding="utf-8")
