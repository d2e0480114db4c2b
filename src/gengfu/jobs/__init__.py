"""The jobs that Gengfu brings along; one file each."""
