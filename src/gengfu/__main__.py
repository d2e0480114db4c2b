"""`python -m gengfu`."""

import sys

from gengfu.console import main

sys.exit(main())
