"""Runs on record: read, kept, compared, and what they were made with."""
