"""`python -m gengfu`."""

import sys

from gengfu.cli.console import main

sys.exit(main())
