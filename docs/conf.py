"""How Sphinx makes a site of the pages in this folder (`make docs`, into build/docs)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mcsim.report.explanation  # noqa: F401 - or the alias below would not be found
from mcsim import __version__

project = "mcsim"
author = "the mcsim authors"
version = release = __version__
html_title = f"mcsim {__version__}"
html_show_copyright = False
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["pages.css"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "docs.sphinx_shown", "docs.sphinx_reference"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
highlight_language = "text"
# Commands and sizes are pasted from the pages: "--boots" must stay what it is.
smartquotes = False

# What a single backquote means in the project's docstrings.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {
    "Explanation": "mcsim.report.explanation.Explanation",
    "Sensitivity": "mcsim.studies.sensitivity.Sensitivity",
}

# Every name that is linked must exist, but for other packages and for what a user of `import mcsim` need not know.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(pathlib\.)?Path|pl\..*|polars\..*|np\..*|numpy\..*|Figure|Text|NDArray"),
    (
        "py:class",
        r"(mcsim\.[a-z_.]+\.)?(Experiment|Task|OneBoot|Progress|Backend|Ending|Snapshot|Timeline|Block|Divergence|Factor|Estimate|Repetition)",
    ),
]
