"""Use cases with typed input and typed result, which commands share."""
