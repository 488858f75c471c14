"""What the supervised child does for `nla theory gradient`: write the backward pass, run it over data, bound it."""
