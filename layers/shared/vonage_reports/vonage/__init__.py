"""Vonage's Reports API over HTTP."""
