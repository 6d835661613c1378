"""Reports of resolved findings, for people and for tools.

`model.py` is the report as data. `report_json.py`, `sarif.py` and `html.py` render it,
`terminal.py` prints a summary, and `output.py` writes files into a folder.
"""

from .model import Report, Summary, build_report
from .output import prepare_output, write_reports
from .report_json import canonical, render_json
from .terminal import print_summary, summary_line

__all__ = [
    "Report",
    "Summary",
    "build_report",
    "canonical",
    "prepare_output",
    "print_summary",
    "render_json",
    "summary_line",
    "write_reports",
]
