"""How the sample models are made; run by `build.py`, never by nla or its tests."""
