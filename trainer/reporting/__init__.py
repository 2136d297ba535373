"""Reports on models side by side: ``report.html``, ``report.md``, ``report.json`` and the charts they show."""

from trainer.reporting.write import write_report

__all__ = ["write_report"]
