"""Whole folders of photos at once, by the running server or without one.

photos     which photos: files, folders, a pipe
models     what answers them: a bundle in all cores, or a version of a running server
output     CSV and JSON Lines that an interrupted run is resumed from
sorting    photos linked or copied into folders by class
classify   the work, start to end
"""
