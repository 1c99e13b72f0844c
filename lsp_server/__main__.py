"""`python -m lsp_server` is `ditproof`."""

import sys

from lsp_server.cli import main

sys.exit(main())
