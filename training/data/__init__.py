"""Labelled photos: found, split, grouped, written down."""
