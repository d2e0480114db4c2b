"""Whether everything that should be up is, and what is wrong where it is not."""
