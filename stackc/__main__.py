"""`python -m stackc` is `stackc`, where its folder of scripts is not on the PATH."""

from compiler.cli.main import main

main()
