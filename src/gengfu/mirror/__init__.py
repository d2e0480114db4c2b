"""The mirror: what a vendor list looks like, how a run brings its copy up to date, and how it proves to be complete."""
