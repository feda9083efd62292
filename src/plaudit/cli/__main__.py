"""``python -m plaudit.cli``, for launchers that start modules (accelerate launch -m, torchrun -m)."""

from __future__ import annotations

import sys

from plaudit.cli.running import main

sys.exit(main())
