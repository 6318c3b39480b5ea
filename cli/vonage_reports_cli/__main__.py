"""`python -m vonage_reports_cli` is `vonage-reports`."""

import sys

from vonage_reports_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
