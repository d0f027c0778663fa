"""``python -m guiji``."""

from guiji.cli import main

main()
