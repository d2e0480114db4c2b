"""`python -m gengfu.simulator`: the simulator as a program of its own."""

from gengfu.simulator.cli import main

raise SystemExit(main())
