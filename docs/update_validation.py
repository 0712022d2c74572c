"""Put the tables and the plot of results/validate into docs/validation.md (`make validation`)."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "results" / "validate"
FILES = ("validate.txt", "counterfactual.txt")
MARKERS = "<!-- validation: make validation -->", "<!-- end of validation -->"


def main() -> None:
    """Replace what lies between the page's markers, and the plot."""
    parts = [
        "![Predicted and observed](calibration.svg)",
        *(f"```\n{(RESULT / name).read_text(encoding='utf-8').rstrip()}\n```" for name in FILES),
    ]
    page = ROOT / "docs" / "validation.md"
    new = "\n\n".join([MARKERS[0], *parts, MARKERS[1]])
    pattern = ".*".join(map(re.escape, MARKERS))
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(pattern, lambda _: new, text, flags=re.DOTALL), encoding="utf-8")
    (ROOT / "docs" / "calibration.svg").write_bytes((RESULT / "calibration.svg").read_bytes())


if __name__ == "__main__":
    main()
