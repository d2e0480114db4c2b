"""The queue: jobs, the ledger that records them, the workers that run them, and the broker between."""
