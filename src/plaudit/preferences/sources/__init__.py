"""Raw records from files, folders, data sets and iterables; `resolve` finds them."""
