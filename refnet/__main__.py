"""`python -m refnet` is the command `refnet`."""

import sys

from refnet.cli import main

sys.exit(main())
