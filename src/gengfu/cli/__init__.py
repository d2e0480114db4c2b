"""The commands, one module per family: `device:list` is in `device`. At the top they import nothing heavy but click."""
