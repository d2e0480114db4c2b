"""What `make:*` writes: the texts of new files, and how a list of the vendor is recognised from its answers."""
