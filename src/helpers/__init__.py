"""The library under the book *Where Locality Comes From*.

A chapter imports a module by the noun it teaches: `from helpers.denoisers import
Optimal`. Nothing is re-exported here.
"""
