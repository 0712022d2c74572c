"""Put the table and the picture of results/mail-2022 into README.md and docs/ (`make readme`)."""

from docs.fill import ROOT, fill, quoted

RESULT = ROOT / "results" / "mail-2022"


def main() -> None:
    """Replace the README's table, and the picture."""
    table = (RESULT / "table.txt").read_text(encoding="utf-8")
    block = table[table.index("P(OOM) in per cent") : table.index("\nexperiment mail-2022")]
    fill(ROOT / "README.md", "table", quoted(block))
    (ROOT / "docs" / "mail-2022.svg").write_bytes((RESULT / "p_oom.svg").read_bytes())


if __name__ == "__main__":
    main()
