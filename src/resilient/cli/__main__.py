"""Run the command as `python -m resilient.cli`."""

from resilient.cli import main

if __name__ == "__main__":
    main()
