"""Put the tables and the plot of results/check-model into docs/validation.md (`make validation`)."""

from docs.fill import ROOT, fill, quoted

RESULT = ROOT / "results" / "check-model"
PAGE = ROOT / "docs" / "validation.md"


def main() -> None:
    """Replace the tables, and the plot."""
    for name in ("predicted", "counterfactual"):
        fill(PAGE, name, quoted((RESULT / f"{name}.txt").read_text(encoding="utf-8")))
    (ROOT / "docs" / "calibration.svg").write_bytes((RESULT / "calibration.svg").read_bytes())


if __name__ == "__main__":
    main()
