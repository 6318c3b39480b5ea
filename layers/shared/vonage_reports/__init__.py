"""Collects Vonage usage reports into S3.

Imports point down only::

    functions/*/app.py  ->  aws  ->  client  ->  domain (standard library only)
"""

__version__ = "0.1.0"
