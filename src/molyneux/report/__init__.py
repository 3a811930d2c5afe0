"""From a run folder to one page that a person can read; knows no models and needs no torch."""

from molyneux.report.html import write_report as write_report
