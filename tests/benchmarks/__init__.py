"""Measurements, never assertions: `make bench` prints them beside the floor of the same run."""
