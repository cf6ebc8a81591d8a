"""Tests of data sets: schemas, files, rows and blocks."""
