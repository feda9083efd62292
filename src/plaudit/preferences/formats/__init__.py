"""The formats that are read, each recognised by its keys; `recognise` is the way in."""
