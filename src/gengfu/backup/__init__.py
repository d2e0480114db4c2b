"""Copies of the database: made while workers write, read back, kept by a rule, put back in place of what is there."""
