"""Put the table and the picture of results/mail-2022 into README.md and docs/ (`make readme`)."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "results" / "mail-2022"


def main() -> None:
    """Replace what lies between the README's markers, and the picture."""
    table = (RESULT / "table.txt").read_text(encoding="utf-8")
    block = table[table.index("P(OOM) in per cent") : table.index("\nexperiment mail-2022")].rstrip()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = f"<!-- table: make readme -->\n\n```\n{block}\n```\n\n<!-- end of table -->"
    pattern = r"<!-- table: make readme -->.*<!-- end of table -->"
    readme.write_text(re.sub(pattern, lambda _: new, text, flags=re.DOTALL), encoding="utf-8")
    (ROOT / "docs" / "mail-2022.svg").write_bytes((RESULT / "p_oom.svg").read_bytes())


if __name__ == "__main__":
    main()
