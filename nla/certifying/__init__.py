"""What the supervised child does for `nla certify`: lower a checkpoint, prove, search for witnesses, confirm them."""
