"""Samples with names, notes and looks: of image folders, tables, arrays and stores."""
