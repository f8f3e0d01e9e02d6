"""The demo: sample collections from installed packages, and a tour through the whole program."""
