"""Measurements of Gengfu against what the machine can do at best, and against the way it was done before."""
