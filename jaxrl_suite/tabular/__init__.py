"""Classifiers, linear fits and tables: what data values and the data market share. Import the module that you need."""
