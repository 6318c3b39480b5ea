"""Collects Vonage usage reports into S3.

Imports point down only::

    functions/*/app.py -> steps (submit_reports, check_report, store_report)
        -> aws -> vonage, archive -> domain (standard library only)
"""

__version__ = "0.1.0"
