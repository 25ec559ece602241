"""Drawn photos, and photos with known defects, for demos and tests without real data."""
