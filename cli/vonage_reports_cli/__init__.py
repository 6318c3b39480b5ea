"""`vonage-reports`: the program of the operator and of finance."""
