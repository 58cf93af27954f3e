"""`python -m trainers.demo`."""

from trainers.demo.server import main

if __name__ == "__main__":
    main()
