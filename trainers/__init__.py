"""Command-line trainers: `keras-imaml train`, or `python -m trainers.train`, and so on."""
