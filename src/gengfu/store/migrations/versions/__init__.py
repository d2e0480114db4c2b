"""One script per revision, listed in order in `gengfu.store.schema.REVISIONS`."""
