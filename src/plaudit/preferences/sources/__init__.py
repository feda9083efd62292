"""Raw records from files, folders, data sets and iterables; `locate` finds them, the other files read them."""
