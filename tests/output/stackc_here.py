"""stackc as a program, of this checkout and with this interpreter, in whatever folder it is started."""

from compiler.cli.main import main

if __name__ == "__main__":
    main()
