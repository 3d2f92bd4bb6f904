"""What radiologists say of series, and how often the model said the same.

said.py       what a reader says: which findings, in which words; pure
rows.py       as rows of a CSV file; pure
message.py    as an HL7 v2 message, and the answer to it; pure
intake.py     which series that is about, and into the ledger with it
importing.py  rows of a file come in
exporting.py  what was judged and read, as a CSV file
listener.py   HL7 v2 messages come in by MLLP
figures.py    sensitivity, specificity and predictive values with their intervals; pure
"""
