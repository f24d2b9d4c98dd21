"""Formulas of adapting and editing by CLIP: what CLIP sees, directions, mappers, schedules."""
