"""Stands for a library that changes the environment when it is imported, as some do."""

import os

os.environ["SET_BY_A_LIBRARY"] = "1"
