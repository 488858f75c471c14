"""Every option and argument, declared once, so that it means the same in every command; one file a group.

An option bears the name of the parameter of the Python verb that it sets.
"""
