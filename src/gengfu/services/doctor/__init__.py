"""Looks for what keeps the program from working, and names the remedy."""
