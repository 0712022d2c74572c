"""What the HTML report says: `SECTIONS` are functions from the findings of a result to a part of the page.

`page/report.html.jinja` sets the parts of a section. A further section is a further function in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcsim.report.sections.answer import answer_section
from mcsim.report.sections.differences import differences_section, more_ram_section
from mcsim.report.sections.failures import blame_section, failures_section
from mcsim.report.sections.p_oom import heat_map_section, p_oom_section
from mcsim.report.sections.parts import Section
from mcsim.report.sections.provenance import again_section, trust_section
from mcsim.report.sections.real import mail_section, real_boots_section
from mcsim.studies.findings import Findings

SECTIONS: Sequence[Callable[[Findings], Section | None]] = (
    answer_section,
    p_oom_section,
    heat_map_section,
    differences_section,
    more_ram_section,
    failures_section,
    blame_section,
    mail_section,
    real_boots_section,
    trust_section,
    again_section,
)
