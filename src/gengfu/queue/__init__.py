"""The queue: jobs, the ledger that records them, the workers that do them, and what wakes workers."""
