"""The verbs behind `nla.api`, a module for each group: they call the stages in order, without logic of their own."""
