"""`check`: does a program speak the protocol, and where does it deviate?"""
