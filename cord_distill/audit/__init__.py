"""`cord audit`: what each step of a trace does for the answer, by changing the step and looking what S becomes."""
