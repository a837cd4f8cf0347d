"""``python -m repro``."""

import sys

from repro.cli.start import main

sys.exit(main())
