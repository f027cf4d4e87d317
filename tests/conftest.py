"""Drawn examples are the same in every run: what fails once fails again, everywhere."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
