"""Keras models, of Keras 2 and 3, as archives (.keras) and as HDF5 files: read as data, without Keras.

A file holds a description in JSON and arrays. The description is read by `config` and `inbound`, the
arrays by `hdf5`; `layers` has a function for every layer class, and `graph` joins them to one network.
"""
