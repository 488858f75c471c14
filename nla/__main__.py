"""`python -m nla`, the same as the `nla` script."""

if __name__ == "__main__":
    import sys

    if not sys.flags.safe_path:
        # `-m` puts the current folder first: a `json.py` that lies beside a stranger's model must not be run.
        del sys.path[0]

    from nla.cli import main

    main()
