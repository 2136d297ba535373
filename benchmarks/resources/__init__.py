"""Disk, memory and scaling."""
