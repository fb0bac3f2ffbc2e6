"""Tables, figures and one self-contained page, from saved rows only.

    write_report(run folder) → RUN/report.html, RUN/tables/*.csv, *.md and *.tex, RUN/figures/*.svg and *.png

`tables` turns rows into frames, `figures` draws frames, `page` puts both into sections and the sections into
`page.html.jinja`. An experiment's section is the file of its name in `sections`; one without such a file is shown as the
plain tables that it makes.
"""

from __future__ import annotations

from emoviews.report.page import write_report

__all__ = ["write_report"]
