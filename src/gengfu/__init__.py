"""Gengfu keeps a true, fresh copy of a vendor's device list in your database."""

__version__ = "0.1.0"
