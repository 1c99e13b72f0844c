"""What weight names and headers prove without a tensor being read.

`languages` decides questions about sets of names, `patterns` turns a mapping's regular expressions
into such sets, `symbolic` asks about whole mappings.
"""
