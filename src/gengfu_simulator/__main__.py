"""`python -m gengfu_simulator`: the simulator as a program of its own."""

from gengfu_simulator.cli import main

raise SystemExit(main())
